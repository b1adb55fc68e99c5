"""The guard model: conversations in, raw verdict texts out."""

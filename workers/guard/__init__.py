"""How to reach a judgement: an engine in this process, or the replicas of a Serve application."""

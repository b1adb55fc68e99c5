"""The Ray Serve application that judges chat events."""

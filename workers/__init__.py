"""What runs: settings, telemetry, the command line, and one folder per process."""

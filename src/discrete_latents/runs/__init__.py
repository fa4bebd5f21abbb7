"""What a run leaves on disk: its files, checkpoints, results and metrics."""

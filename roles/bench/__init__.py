"""`bench`: how fast this host runs tasks, as ratios to the bare sandbox of the same run."""

"""What a process says about itself: structured events on stderr."""

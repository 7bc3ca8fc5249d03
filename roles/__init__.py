"""The three roles and the commands that start them; each package is one process."""

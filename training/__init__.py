"""Training: data, label synthesis, losses, and the commands that made the shipped weights."""

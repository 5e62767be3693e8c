"""Weights of others, fetched whole and checked: the official ZIM release and SAM's checkpoints."""

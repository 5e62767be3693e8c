"""Training data: procedural scenes, coarse labels, prompts."""

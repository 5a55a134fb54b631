"""Augmentations beyond shift and flip: each image by its own draws, a whole batch at once."""

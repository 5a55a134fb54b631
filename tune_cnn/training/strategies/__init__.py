"""Time-efficient training strategies from the literature: one file a paper, found by its name."""

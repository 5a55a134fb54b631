"""One process of training: its faults, its group of ranks, and all that is global in it."""

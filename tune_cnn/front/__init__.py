"""CHOOSES: epoch points to the front, its hypervolume, and the point that fits a preference."""

"""LEARNS: one rank: data, loaders, models, precision, optimiser, loop and meters."""

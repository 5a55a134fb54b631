"""LEARNS: one rank: data, loaders, models, precision, optimizer, loop and meters."""

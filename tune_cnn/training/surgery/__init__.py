"""Change the widths of a model that is being trained: find which channels belong together, then gather them anew."""

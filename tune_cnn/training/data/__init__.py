"""Images: found, checked, decoded once into a cache that all processes share, split, and delivered in batches."""

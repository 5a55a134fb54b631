"""How near mini-batches come to the whole set: gradients at one epoch's first parameters, and their distances."""

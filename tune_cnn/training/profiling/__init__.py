"""What a configuration's steps cost, and why: the same steps with and without what may hold them up."""

"""`tune-cnn profile`: where the time of a training step goes, over the dimensions of a spec that change it."""

"""What a training step works with, whoever drives it: our loop, a strategy, or the user's own generator."""

"""Runs: warm Ray trainables, their ranks and resources, and the loop of Ray Tune around them."""

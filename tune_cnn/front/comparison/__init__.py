"""Configurations held against each other over the same seeds: means, differences, effects, and how sure they are."""

"""The commands of `tune-cnn`, a few lines each. With --json stdout carries one JSON document and nothing else."""

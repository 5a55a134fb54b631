"""What every strategy is built on: its hooks, the training it acts on, its registry, its rebuilding."""

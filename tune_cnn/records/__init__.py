"""What a study remembers: its own tables, which are the truth, and MLflow, which is fed from them."""

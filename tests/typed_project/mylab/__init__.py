"""What a user writes for a search of their own, outside tune_cnn's repository."""

"""Starts and checks a real MLflow tracking server with safe settings; knows nothing of tune_cnn."""

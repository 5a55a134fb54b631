"""Decides: which configuration is tried next, and which trial goes on. Optuna by ask and tell."""

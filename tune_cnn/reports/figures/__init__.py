"""Figures of a study from plain data: for the report, a notebook and MLflow."""

"""MLflow as the study uses it: its client, the runs and what stands in them, and a study read back."""

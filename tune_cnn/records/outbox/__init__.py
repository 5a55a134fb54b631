"""From the study's tables to MLflow: the process that delivers what has changed, and the handle on that process."""

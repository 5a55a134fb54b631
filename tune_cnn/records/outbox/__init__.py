"""From the study's tables to MLflow: the change log, the process that delivers it, and the handle on that process."""

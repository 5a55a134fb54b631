"""The course of a search: startup, the driver of its trials, its budget and costs, and the dry run."""

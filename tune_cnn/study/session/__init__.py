"""A start of work on a study: its store and lease, the job of its trials, what signals do, and how it ends."""

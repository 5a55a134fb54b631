"""The course of confirming: which points, and their runs, each alone on its hardware."""

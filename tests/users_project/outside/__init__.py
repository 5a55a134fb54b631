"""A user's project: tests copy it out of the repository and put its folder on the path."""

"""What is shown on a terminal: the live display of a search, and what the commands print."""

"""Tables for a terminal, one file each."""

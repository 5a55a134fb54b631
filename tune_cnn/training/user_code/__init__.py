"""The user's own functions: found, called, and held against what they must give."""

"""How much power a GPU may take: a limit is held for a phase of a search, and restored whatever happens."""

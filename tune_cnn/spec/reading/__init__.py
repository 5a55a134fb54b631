"""From files to specs and back: YAML, recipes, old names, the schema for editors, the table of keys."""

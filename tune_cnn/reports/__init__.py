"""SHOWS: the live display of a search, its tables, figures, HTML report and model card."""

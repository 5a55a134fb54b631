"""The conductor and the Python face: search, front, export, train, report."""

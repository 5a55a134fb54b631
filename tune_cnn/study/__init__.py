"""The driver and the Python face: search, front, export, train, report."""

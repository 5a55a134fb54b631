"""Sets that stand in a table: a CSV of paths and classes, arrays of NumPy."""

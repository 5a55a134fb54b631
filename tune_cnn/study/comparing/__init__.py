"""The course of comparing: cells, their runs over several seeds in blocks, and which is better by how much."""

"""A folder of image files: which of its files are images, and what a file is to a viewer."""

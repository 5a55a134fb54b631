"""Sets larger than the cache may hold as pixels: their images as JPEGs in one file, decoded as they are read."""

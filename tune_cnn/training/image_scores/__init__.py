"""What an image is like, in a number or a few: intensity, colour, edges and perceptual distance."""

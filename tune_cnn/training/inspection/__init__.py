"""What is asked of a node before any trial: the images, the model, the hardware, what a configuration costs."""

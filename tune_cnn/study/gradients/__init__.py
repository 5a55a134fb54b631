"""The course of `gradients`: which mini-batches are like the whole set? Trainings, measured between their epochs."""

"""A trained model as it leaves its process: weights, and a program that needs none of our code."""

"""The course of `train`: keep the promise that an export made, and register what came out."""

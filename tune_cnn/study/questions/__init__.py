"""The frame of studies that answer a question: profile, compare and gradients each are a `Question` in it."""

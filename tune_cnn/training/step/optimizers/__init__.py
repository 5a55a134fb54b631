"""The optimizers: which parameters they get at which rate, and the rules by which they change them."""

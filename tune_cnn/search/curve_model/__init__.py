"""A model of learning curves, of costs and of memory: what the sampler and the stopper reckon with."""

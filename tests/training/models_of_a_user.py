"""Factories as users write them, good and bad; the source of a module that tests import."""

USERS = '''
import torch
from torch import nn

class Plain(nn.Module):
    """A user's own, built from the data's shape; looks at its values, so that it can't run without data."""

    def __init__(self, num_classes, in_channels, image_size, hidden=5):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, images):
        if images.sum().item() < 0:
            raise RuntimeError("never")
        return self.layers(images)

def factory(num_classes, in_channels, image_size, hidden=5):
    return Plain(num_classes, in_channels, image_size, hidden)

def greedy(num_classes, in_channels, image_size, **anything):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))

def needy(num_classes, in_channels, image_size, depth):
    return greedy(num_classes, in_channels, image_size)

def narrow(num_classes):
    return nn.Linear(1, num_classes)

def raises(num_classes, in_channels, image_size):
    raise ValueError("no such luck")

def nonsense(num_classes, in_channels, image_size):
    return "a model"

def wrong_classes(num_classes, in_channels, image_size):
    return greedy(num_classes + 1, in_channels, image_size)

def tuple_output(num_classes, in_channels, image_size):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = greedy(num_classes, in_channels, image_size)
        def forward(self, images):
            return self.inner(images), None
    return Two()

def train_only_fails(num_classes, in_channels, image_size):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = greedy(num_classes, in_channels, image_size)
        def forward(self, images):
            if self.training:
                raise RuntimeError("only in training")
            return self.inner(images)
    return Fails()

def frozen(num_classes, in_channels, image_size):
    return greedy(num_classes, in_channels, image_size).requires_grad_(False)

def idle_layer(num_classes, in_channels, image_size):
    model = greedy(num_classes, in_channels, image_size)
    model.append(nn.Identity())
    model[-1].spare = nn.Linear(3, 3)
    return model

not_callable = 3
'''

"""LeNet-5 in JAX and Flax as a user's own training: the same net, images, optimizer and schedule as ours in PyTorch.

    cd tests/training/user_code
    tune-cnn compare number_formats --over training --values training=null,flax_lenet:training --study flax \
      --set space.precision=fp32 --set space.channels_last=false --seeds 5

Weights begin as torch's do, uniform within 1/sqrt(fan-in). Compiling is off the clock, as ours is.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import linen as nn

from tune_cnn import Rank

Tree = Any  # of arrays: parameters, or an optimizer's state


def as_torch(fan_in: int) -> Callable[..., jax.Array]:
    """Uniform within 1/sqrt(fan-in): torch's default for weights and biases both."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1 / np.sqrt(fan_in), 1 / np.sqrt(fan_in))

    return init


class LeNet5(nn.Module):
    """61,706 parameters at 28×28, one channel, ten classes."""

    classes: int

    @nn.compact
    def __call__(self, images_nhwc: jax.Array) -> jax.Array:
        x = images_nhwc
        for maps, padding in ((6, 2), (16, 0)):
            init = as_torch(25 * x.shape[-1])
            x = nn.Conv(maps, (5, 5), padding=padding, kernel_init=init, bias_init=init)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for units in (120, 84, self.classes):
            init = as_torch(x.shape[-1])
            x = nn.Dense(units, kernel_init=init, bias_init=init)(x)
            x = nn.relu(x) if units != self.classes else x
        return x


def training(rank: Rank) -> Iterator[dict[str, float]]:
    """SGD with Nesterov's momentum under a cosine, weight decay on weights alone; goes on after a restart."""
    asked, steps = rank.configuration, rank.train.steps
    net = LeNet5(classes=rank.facts.num_classes)
    optimizer = optax.chain(
        optax.add_decayed_weights(asked.weight_decay, mask=partial(jax.tree.map, lambda leaf: leaf.ndim > 1)),
        optax.sgd(
            optax.cosine_decay_schedule(asked.learning_rate, steps * asked.epochs), asked.momentum, asked.nesterov
        ),
    )
    height, breadth = rank.facts.image_size
    seed = int(torch.randint(2**31, (1,)))  # of the trial's: the global generators are seeded with it
    like = jnp.zeros((1, height, breadth, rank.facts.in_channels))
    params: Tree = net.init(jax.random.key(seed), like)
    state: Tree = optimizer.init(params)
    saved = rank.checkpoint.load()
    if saved is not None:
        leaves = [jnp.asarray(leaf.numpy()) for leaf in saved["leaves"]]
        params, state = jax.tree.unflatten(jax.tree.structure((params, state)), leaves)

    def loss_of(params: Tree, images_nhwc: jax.Array, labels_n: jax.Array) -> jax.Array:
        logits_nk = net.apply(params, images_nhwc)
        return optax.softmax_cross_entropy_with_integer_labels(logits_nk, labels_n).mean()

    @jax.jit
    def step(params: Tree, state: Tree, images_nhwc: jax.Array, labels_n: jax.Array) -> tuple[Tree, Tree, jax.Array]:
        loss, gradients = jax.value_and_grad(loss_of)(params, images_nhwc, labels_n)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    @jax.jit
    def judged(params: Tree, images_nhwc: jax.Array, labels_n: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits_nk = net.apply(params, images_nhwc)
        losses_n = optax.softmax_cross_entropy_with_integer_labels(logits_nk, labels_n)
        return (logits_nk.argmax(axis=1) == labels_n).sum(), losses_n.sum()

    images, size = rank.facts.train_images, asked.batch_size
    for count in {min(size, images), images % size or size}:  # the last batch of an epoch is smaller
        step(params, state, jnp.zeros((count, *like.shape[1:])), jnp.zeros(count, jnp.int32))
    for epoch in range(rank.first_epoch, asked.epochs):
        losses = []
        with rank.meters.training():
            for images_nchw, labels_n in rank.meters.watch(rank.train.epoch(epoch)):
                params, state, loss = step(params, state, *as_jax(images_nchw, labels_n))
                losses.append(loss)
                rank.meters.step(len(labels_n))
            jax.block_until_ready(params)
        right, lost, count = 0, 0.0, 0
        for images_nchw, labels_n in rank.validation:
            correct, loss = judged(params, *as_jax(images_nchw, labels_n))
            right, lost, count = right + int(correct), lost + float(loss), count + len(labels_n)
        rank.checkpoint.save(
            {"leaves": [torch.from_numpy(np.array(leaf)) for leaf in jax.tree.leaves((params, state))]}
        )
        yield {"accuracy": right / count, "val_loss": lost / count, "train_loss": float(np.mean(losses))}


def as_jax(images_nchw: torch.Tensor, labels_n: torch.Tensor) -> tuple[jax.Array, jax.Array]:
    """Channels last, as XLA's convolutions on a CPU like them."""
    return jnp.asarray(images_nchw.permute(0, 2, 3, 1).float().numpy()), jnp.asarray(labels_n.numpy(), jnp.int32)

"""Networks for surgery: small ones of ours, and one that has in it what else networks are made of."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.training.models.registry import build_model


class Mixed(nn.Module):
    """Depthwise filters, squeeze and excitation, concatenation, a bottleneck, per-channel slopes, flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.PReLU(6))
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.side = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.mixing = nn.Conv2d(11, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.down, self.up = nn.Conv2d(8, 4, 1, bias=False), nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.head = nn.Sequential(nn.Linear(8 * 16, 12), nn.ReLU(), nn.Dropout(0.0), nn.Linear(12, 4))

    def forward(self, images_nchw: Tensor) -> Tensor:
        maps = self.depthwise(self.stem(images_nchw))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(maps.mean((2, 3), keepdim=True)))))
        maps = torch.cat((F.avg_pool2d(maps * gate, 2), self.side(images_nchw)), dim=1)
        maps = F.relu(self.norm(self.mixing(maps)))
        maps = maps + self.scale * self.up(F.relu(self.down(maps)))
        return self.head(maps.reshape(len(maps), -1))


class Residual(nn.Module):
    """One residual block without a stride between two convolutions: the least that a layer can be dropped from."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.bn2 = nn.Conv2d(5, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, images_nchw: Tensor) -> Tensor:
        maps = F.relu(self.stem(images_nchw))
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(maps)), inplace=True)))
        residual += maps
        return self.head(F.relu(residual).mean((2, 3)))


class Sized(nn.Module):
    """Its forward holds a width as a number, as older code does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 4)

    def forward(self, images_nchw: Tensor) -> Tensor:
        return self.head(F.relu(self.conv(images_nchw)).view(-1, 256))


def _ours(name: str, **arguments: int) -> Callable[[], nn.Module]:
    return lambda: build_model(name, num_classes=4, in_channels=3, image_size=(12, 12), arguments=arguments)


NETS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": _ours("lenet5"),
    "small_cnn": _ours("small_cnn", width=8),
    "resnet20": _ours("resnet20", width=4),
    "densenet": _ours("densenet_bc_100_12", depth=10, growth_rate=4),
    "mixed": Mixed,
    "residual": Residual,
}


def net(name: str, seed: int = 0) -> nn.Module:
    """One of them in training mode, its running statistics and affine parameters moved off their starts."""
    torch.manual_seed(seed)
    model = NETS[name]().train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
        for _ in range(3):
            model(images(name))
    return model


def images(name: str, count: int = 6) -> Tensor:
    side = 8 if name == "mixed" else 12
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def trained(model: nn.Module, images_nchw: Tensor, optimizer: torch.optim.Optimizer, steps: int = 2) -> nn.Module:
    """The model after some steps on these images."""
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images_nchw), torch.arange(len(images_nchw)) % 4).backward()
        optimizer.step()
    return model


def gradients(model: nn.Module, images_nchw: Tensor) -> dict[str, Tensor]:
    """Of the cross-entropy, by name; the model is left as it was."""
    model = copy.deepcopy(model).double()
    F.cross_entropy(model(images_nchw.double()), torch.arange(len(images_nchw)) % 4).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

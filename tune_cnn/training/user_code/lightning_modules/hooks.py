"""Calls of a LightningModule's methods: what one logs is known by its name."""

from torch import nn

from tune_cnn.training.user_code.lightning_modules.classes import base_of, takes_number
from tune_cnn.training.user_code.lightning_modules.logged import Logged
from tune_cnn.training.user_code.lightning_modules.trainer import OurTrainer
from tune_cnn.untyped import Untyped


class Hooks:
    """One module, attached to our loop."""

    def __init__(self, module: Untyped, logged: Logged, trainer: OurTrainer) -> None:
        self.module, self.logged, self._trainer = module, logged, trainer
        self.attach()

    def attach(self) -> None:
        """Let the module, and those of its parts that are LightningModules, find our log and our trainer."""
        self.module.trainer = self._trainer
        for part in self.module.modules():
            if base_of(type(part)) is not None:
                part.log = self.logged.log

    def __call__(self, name: str, *args: Untyped, **kwargs: Untyped) -> Untyped:
        outer, self.logged.hook = self.logged.hook, name
        try:
            return getattr(self.module, name)(*args, **kwargs)
        finally:
            self.logged.hook = outer

    def step(self, name: str, batch: Untyped, number: int) -> Untyped:
        """training_step or validation_step, with the batch's number where it takes one."""
        return self(name, *((batch, number) if takes_number(getattr(self.module, name)) else (batch,)))

    def modes(self) -> dict[nn.Module, bool]:
        """Which of the module's parts are in training mode."""
        return {part: part.training for part in self.module.modules()}


def put_modes(modes: dict[nn.Module, bool]) -> None:
    for part, training in modes.items():
        part.training = training

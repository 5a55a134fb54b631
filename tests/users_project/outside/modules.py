"""LightningModules as users write them: for images, a net, a loss, an optimizer and what they log."""

from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy


class Digits(pl.LightningModule):
    """A small net with dropout and no batch norm; a mapping of an optimizer and a scheduler by step."""

    def __init__(self, num_classes: int, in_channels: int, lr: float, width: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(dropout)
        )
        self.head = nn.LazyLinear(num_classes)
        self.seen: list[str] = []
        self.correct = MulticlassAccuracy(num_classes, average="micro")

    def configure_model(self) -> None:
        self(torch.zeros(1, self.hparams.in_channels, 8, 8))  # the lazy layer's shape

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.net(images))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss_by_step", loss)
        self.log("train/mean", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.correct(logits, labels)
        self.log("accuracy", (logits.argmax(1) == labels).float().mean())
        self.log("by_torchmetrics", self.correct)
        self.log_dict({"val_loss": F.cross_entropy(logits, labels)}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.hparams.lr, total_steps=self.trainer.estimated_stepping_batches
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 3}}


class Noted(Digits):
    """Tells of what is called, in which order, and by which epoch and step; two schedulers by epoch."""

    calls: ClassVar[list[tuple[str, int, int]]] = []

    def noted(self, name: str) -> None:
        type(self).calls.append((name, self.current_epoch, self.global_step))

    def setup(self, stage: str) -> None:
        self.noted(f"setup {stage}")

    def on_fit_start(self) -> None:
        self.noted("on_fit_start")

    def on_train_start(self) -> None:
        self.noted("on_train_start")

    def on_train_epoch_start(self) -> None:
        self.noted("on_train_epoch_start")
        assert self.trainer.training

    def on_validation_epoch_end(self) -> None:
        self.noted("on_validation_epoch_end")
        assert self.trainer.validating and not self.training
        self.log("seen", 3)

    def on_train_epoch_end(self) -> None:
        self.noted("on_train_epoch_end")
        assert self.training

    def on_train_end(self) -> None:
        self.noted("on_train_end")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = self.current_epoch

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.noted(f"loaded {checkpoint['mine']}")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        by_epoch = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1], gamma=0.5)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0, factor=0.1)
        return [optimizer], [by_epoch, {"scheduler": plateau, "monitor": "val_loss", "frequency": 2}]


class Around(Digits):
    """The study's own net, handed in as `model`; an optimizer_step and a clipping of its own."""

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        pl.LightningModule.__init__(self)
        self.model = model
        self.rate = learning_rate

    def configure_model(self) -> None:
        return None

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def validation_step(self, batch: Any) -> None:
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.rate)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (self.global_step + 1) / 5)
        optimizer.step(closure=optimizer_closure)


class Manual(Digits):
    """Steps two optimizers by itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        of_net, of_head = self.optimizers()
        of_net.zero_grad()
        of_head.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(of_net, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
        of_net.step()
        of_head.step()
        for schedule in self.lr_schedulers():
            schedule.step()

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.SGD(part.parameters(), lr=self.hparams.lr) for part in (self.net, self.head)]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(one, 0.99) for one in optimizers]


class WithoutLoss(Digits):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None


class WithLoader(Digits):
    def train_dataloader(self) -> Any:
        return []


class WithoutLoader(WithLoader):
    train_dataloader = pl.LightningModule.train_dataloader


class TwoOptimizers(Digits):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.net, self.head)]


class AsksForMore(Digits):
    def on_train_epoch_start(self) -> None:
        assert not hasattr(self.trainer, "checkpoint_callback")
        print(self.trainer.checkpoint_callback)


class Stops(Digits):
    def on_train_epoch_end(self) -> None:
        self.trainer.should_stop = True


class NeedsHeads(Digits):
    def __init__(self, heads: int) -> None:
        super().__init__(10, 1, 0.1)


class KeepsAnObject(Digits):
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = {"path": Path()}


class LogsTwice(Digits):
    def on_train_epoch_end(self) -> None:
        self.log("accuracy", 1.0)


class PlateauOfNothing(Digits):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_f1"}


class NoModule:
    def __init__(self) -> None:
        self.training_step = None

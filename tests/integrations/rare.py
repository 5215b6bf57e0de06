"""Rare positives for a framework's loaders: laws of the clinic, drawn in advance."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from losses import LossWarmupWrapper, SmoothAPLoss
from tests.clinic.families import Law, gaussian

RATE = 0.005
BATCH = 128


def rows(n: int, law: Law | None = None, rate: float = RATE, seed: int = 0) -> TensorDataset:
    """Features and 0/1 targets."""
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(*(law or gaussian()).draw(n, torch.tensor([1 - rate, rate]), generator))


def loader(batches: int, batch_size: int = BATCH, **options) -> DataLoader:
    return DataLoader(rows(batches * batch_size, **options), batch_size=batch_size, shuffle=True)


def too_small() -> nn.Module:
    """Smooth-AP with a queue in which there are one or two positives: IMB003, IMB002 at times."""
    return SmoothAPLoss(num_classes=1, queue_size=256)


def fitting() -> nn.Module:
    """The same with a queue of twenty."""
    return SmoothAPLoss(num_classes=1, queue_size=4096)


class Told(LossWarmupWrapper):
    """A wrapper that notes what it is told."""

    def on_train_epoch_start(self, epoch):
        self.__dict__.setdefault("told", []).append(("epoch", epoch))
        super().on_train_epoch_start(epoch)

    def on_train_batch_start(self, global_step):
        self.__dict__.setdefault("told", []).append(("step", global_step))
        super().on_train_batch_start(global_step)


def told(**options) -> Told:
    return Told(nn.BCEWithLogitsLoss(), fitting(), **options)


class OwnRate(torch.optim.Optimizer):
    """An optimizer that finds its own rate, as Adafactor does with ``lr=None``."""

    def __init__(self, parameters, lr=None):
        super().__init__(parameters, {"lr": lr})

    def step(self, closure=None):
        loss = None if closure is None else closure()
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                if parameter.grad is not None:
                    parameter.sub_(0.01 * parameter.grad)
        return loss


def small_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))

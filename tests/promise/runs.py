"""Small real runs in which something is to go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imbalance_doctor import Doctor
from imbalance_doctor.findings import Finding
from imbalance_doctor.records import Record, RunInfo
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss

ROWS = 48
STEPS = 40
EVERY = 5


def _warmup() -> nn.Module:
    main = SmoothAPLoss(num_classes=1, queue_size=32)
    return LossWarmupWrapper(nn.BCEWithLogitsLoss(), main, warmup_steps=10, temp_decay_steps=10)


LOSSES: Mapping[str, Callable[[], nn.Module]] = {
    "pauc": lambda: PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64),
    "smooth_ap": lambda: SmoothAPLoss(num_classes=1, queue_size=32),
    "focal": SigmoidFocalLoss,
    "bce": nn.BCEWithLogitsLoss,
    "warmup": _warmup,
}


class Loop:
    """A training loop that goes on when it is run again, as the cell of a notebook does."""

    def __init__(self, doctor: Doctor, loss: str, *, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.doctor, self.loss_fn = doctor, LOSSES[loss]()
        self.as_columns = loss in ("bce", "focal")
        self.model = nn.Linear(8, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.05)
        self.step = 0
        self.watched = False

    def run(self, steps: int = STEPS) -> None:
        """Go on to a step."""
        if not self.watched:
            self.doctor.watch(self.loss_fn)
            self.watched = True
        while self.step < steps:
            step, self.step = self.step, self.step + 1
            if isinstance(self.loss_fn, LossWarmupWrapper):
                self.loss_fn.on_train_batch_start(step)
            x, y = self.batch()
            logits = self.model(x)
            loss = self.loss_fn(logits, y[:, None].float() if self.as_columns else y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.doctor.step(step, lr=0.05)
            if step % 15 == 14:
                x, y = self.batch()
                with torch.no_grad():
                    scores = self.model(x)
                self.doctor.log_eval(scores, y)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of a Gaussian law, some 15 % positive."""
        y = (torch.rand(ROWS) < 0.15).long()
        y[0] = 1
        x = torch.randn(ROWS, 8)
        x[:, 0] += 2.0 * y
        return x, y

    def weights(self) -> torch.Tensor:
        """What was learnt."""
        return torch.cat([value.detach().flatten() for value in self.model.parameters()])


class Quiet:
    """A sink that notes whether it is called in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self, info: RunInfo) -> None:
        """Note it."""
        self.calls.append("begin")

    def record(self, record: Record) -> None:
        """Note it."""
        self.calls.append("record")

    def finding(self, finding: Finding) -> None:
        """Note it."""
        self.calls.append("finding")

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")


def settings(place: Path | None) -> dict[str, Any]:
    """Arguments of the doctor of such a run."""
    return {
        "run_dir": place,
        "every": EVERY,
        "on_finding": "log",
        "total_steps": STEPS,
        "sinks": [Quiet()],
    }

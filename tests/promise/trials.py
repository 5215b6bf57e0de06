"""What the kinds of trials have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass
class Tried:
    """Trials of one kind, and in which of them the promise was broken."""

    kind: str
    trials: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, found: Iterable[str], label: str) -> None:
        """Count one trial."""
        self.trials += 1
        self.faults += [f"{label}: {fault}" for fault in found]


def tried(kind: str, labels: Iterable[str], trial: Callable[[str], Iterable[str]]) -> Tried:
    """Make a trial for each label."""
    result = Tried(kind)
    for label in labels:
        result.add(trial(label), label)
    return result

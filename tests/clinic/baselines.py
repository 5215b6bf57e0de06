"""What simple monitors would have said of the same runs: they see the loss, or the class ratio."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.clinic.clinic import ClinicRun, Outcome

#: Steps over which the loss is compared with itself.
SPAN = 10


def plateaus(losses: Sequence[float]) -> bool:
    """Whether, anywhere, the best loss got less than 0.1 % better within ten steps."""
    best = [min(losses[:end]) for end in range(1, len(losses) + 1)]
    return any(now > before - 0.001 * abs(before) for before, now in zip(best, best[SPAN:], strict=False))


def spikes(losses: Sequence[float]) -> bool:
    """Whether, anywhere, the loss was more than twice what it was within the ten steps before."""
    return any(losses[step] > 2.0 * min(losses[max(0, step - SPAN) : step]) for step in range(1, len(losses)))


def imbalanced(run: ClinicRun) -> bool:
    """Whether the most frequent class has more than ten times the rows of the rarest one."""
    priors = (run.rate, 1.0 - run.rate) if isinstance(run.rate, float) else run.rate
    return max(priors) > 10.0 * min(priors)


BASELINES: dict[str, Callable[[ClinicRun, Outcome], bool]] = {
    "the loss got less than 0.1 % better in ten steps": lambda run, outcome: plateaus(outcome.losses),
    "the loss doubled within ten steps": lambda run, outcome: spikes(outcome.losses),
    "a class ratio above 10": lambda run, outcome: imbalanced(run),
}

"""What will go wrong with a run, from its configuration alone.

The rules of the run are the rules before it: `expected` makes the records that a plan lets expect, and
`verdict` examines them. A rule joins with one line, ``foreseeable = True``, where it needs no more than
the statistics that `expected.counts` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from imbalance_doctor import declared
from imbalance_doctor.examine.selection import Selector, choose_rules, said_thresholds
from imbalance_doctor.examine.tuning import Thresholds
from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.rules.base import Rule

if TYPE_CHECKING:
    from torch import nn


def preflight(
    loss_fn: nn.Module,
    *,
    batch_size: int,
    positive_rate: declared.Rates,
    total_steps: int | None = None,
    epochs: int | None = None,
    world_size: int = 1,
    class_names: declared.ClassNames | None = None,
    target_metric: str | None = None,
    select: Selector = None,
    ignore: Selector = None,
    rules: Sequence[Rule] | None = None,
    thresholds: Thresholds | None = None,
) -> Diagnosis:
    """Judge a run before it starts.

    Every prescription was tried: with that value the rule finds nothing.

    Args:
        loss_fn: A loss of `losses`, the warmup wrapper, ``nn.BCEWithLogitsLoss`` or ``nn.CrossEntropyLoss``.
        batch_size: Rows of a batch; with several processes, of each.
        positive_rate: Share of positives among the rows that the loader delivers; one number for a binary
            task, one for each class otherwise.
        total_steps: Length of the run.
        epochs: The same in epochs, where a schedule is in epochs.
        world_size: Processes that train together.
        class_names: Names of the classes, for findings: in order, or by class id.
        target_metric: The validation metric that the run is for, such as
            ``"average_precision"`` (see `imbalance_doctor.scores.metrics.METRICS`).
        select: Codes, names or code prefixes of the only rules to apply.
        ignore: Codes, names or code prefixes of rules to leave out.
        rules: Rules of your own; each replaces the one of the same code.
        thresholds: Thresholds to change, as in `Doctor`.

    Returns:
        The findings; the expected numbers in `expected`; and in `settings` values that pass together. A
        finding prescribes each of them; one that appears only with other settings begins with "With ...".

    Raises:
        ValueError: A value is out of range, or rates and loss do not fit.

    Example:
        >>> from losses import SmoothAPLoss
        >>> print(preflight(SmoothAPLoss(num_classes=1), batch_size=64, positive_rate=0.002))
    """
    # They bring torch along, which a report starts without.
    from imbalance_doctor.preflight.numbers import numbers
    from imbalance_doctor.preflight.plan import plan_of
    from imbalance_doctor.preflight.verdict import Judge

    plan = plan_of(
        loss_fn,
        batch_size=batch_size,
        positive_rate=positive_rate,
        total_steps=total_steps,
        epochs=epochs,
        world_size=world_size,
        class_names=class_names,
        target_metric=target_metric,
    )
    said = said_thresholds(thresholds, rules)
    judge = Judge(choose_rules(rules, select=select, ignore=ignore, thresholds=said))
    seen = judge.with_settings(plan, judge.examine(plan))
    return replace(seen, source=plan.described, expected=tuple(numbers(plan)))

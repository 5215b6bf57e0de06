"""The clinic as a command: ``python -m tests.clinic``. ``make docs PAGES=clinic`` publishes what it finds.

Planted faults with their healthy twins, ordinary runs, and remedies applied.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.clinic.catalogue import Planted, planted
from tests.clinic.families import HELD_OUT
from tests.clinic.healthy import binary_runs, multiclass_runs
from tests.clinic.page import Figures, page
from tests.clinic.remedies import attempts, effects
from tests.clinic.run import carry_out
from tests.clinic.score import Ordinary, Trial

PAGE = Path(__file__).parents[2] / "docs" / "clinic.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.clinic", description=__doc__)
    parser.add_argument("--first-seed", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each planted fault")
    parser.add_argument("--healthy", type=int, default=180, help="ordinary runs")
    parser.add_argument("--remedies", type=int, default=2, help="seeds of which remedies are applied")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--codes", nargs="*", help="only faults of these codes")
    parser.add_argument("--out", type=Path, help="write the page here instead of printing it")
    given = parser.parse_args(arguments)
    if given.codes and given.out is not None and given.out.resolve() == PAGE:
        parser.error(
            f"expected every code for the published page, got {' '.join(given.codes)}; give another --out"
        )
    torch.set_num_threads(1)  # what this process builds before it forks
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    cases = [c for c in _cases(seeds) if not given.codes or c.code in given.codes]
    trials = _trials(cases, given.workers)
    ordinary = _ordinary(given.healthy, given.first_seed, given.workers)
    treated = [t for t in trials if t.case.sick.seed < given.first_seed + given.remedies]
    tried = [attempt for trial in treated for attempt in attempts(trial)]
    outcomes = carry_out({attempt.name: attempt.run for attempt in tried}, given.workers, "remedies")
    applied = [(attempt, outcomes[attempt.name]) for attempt in tried]
    chosen = ("first_seed", "seeds", "healthy", "remedies")
    options = " ".join(f"--{name.replace('_', '-')} {getattr(given, name)}" for name in chosen)
    command = f"python -m tests.clinic {options}"
    figures = Figures(command, seeds, trials, ordinary, effects(applied, treated))
    if given.out is None:
        print(page(figures))
    else:
        given.out.write_text(page(figures), encoding="utf-8")
    print(
        f"{len(trials)} planted faults with twins, {len(ordinary)} ordinary runs, {len(applied)} remedies",
        file=sys.stderr,
    )


def _cases(seeds: Sequence[int]) -> list[Planted]:
    """Every fault on every seed, and on families that no threshold was set on."""
    return [case for seed in seeds for case in (*planted(seed), *planted(seed, HELD_OUT))]


def _trials(cases: Sequence[Planted], workers: int) -> list[Trial]:
    names = [f"{case.name} {case.sick.seed}" for case in cases]
    runs = {f"{name} sick": case.sick for name, case in zip(names, cases, strict=True)}
    runs |= {f"{name} twin": case.healthy for name, case in zip(names, cases, strict=True)}
    outcomes = carry_out(runs, workers, "planted faults and twins")
    return [
        Trial(case, outcomes[f"{name} sick"], outcomes[f"{name} twin"])
        for name, case in zip(names, cases, strict=True)
    ]


def _ordinary(count: int, seed: int, workers: int) -> list[Ordinary]:
    binary = [(f"binary {name}", run) for name, run in binary_runs(count - count // 3, seed)]
    runs = dict([*binary, *((f"classes {name}", run) for name, run in multiclass_runs(count // 3, seed))])
    outcomes = carry_out(runs, workers, "ordinary runs")
    return [Ordinary(name, run, outcomes[name]) for name, run in runs.items()]


if __name__ == "__main__":
    main()

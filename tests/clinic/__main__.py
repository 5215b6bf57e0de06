"""The clinic as a command: ``python -m tests.clinic [first seed] [seeds] [healthy runs]``.

Planted faults on every seed, then healthy runs over the ordinary range; counts with Wilson intervals.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from itertools import chain

import torch

from tests.clinic.catalogue import planted
from tests.clinic.clinic import Outcome, train
from tests.clinic.healthy import binary_runs, multiclass_runs


def wilson(hits: int, trials: int) -> str:
    """A share with its 95 % Wilson interval."""
    if not trials:
        return "-"
    z, share = 1.96, hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return f"{hits}/{trials} = {share:.0%} [{centre - half:.0%}, {centre + half:.0%}]"


def causes(outcome: Outcome) -> list[str]:
    """Codes at warning or above that nothing else explains, in the order of the diagnosis."""
    found = [f for f in outcome.diagnosis.findings if f.severity != "info" and not f.explained_by]
    return list(dict.fromkeys(f.code for f in found))


def main(first_seed: int = 100, seeds: int = 3, healthy: int = 120) -> None:
    """Run everything and print the tables."""
    torch.set_num_threads(1)
    found, timely, first, trials = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    twins, false = 0, list[str]()
    for seed in range(first_seed, first_seed + seeds):
        for case in planted(seed):
            sick, twin = train(case.sick), train(case.healthy)
            trials[case.code] += 1
            found[case.code] += case.code in sick.codes("info")
            timely[case.code] += (sick.first_step(case.code) or 0) <= case.by and case.code in sick.codes(
                "info"
            )
            top = (sick.codes("warning") or sick.codes("info") or ["none"])[0]
            first[case.code] += top in (case.code, *case.also)
            twins += 1
            if causes(twin):
                false.append(f"{case.name} seed {seed}: {causes(twin)}")
            if case.code not in sick.codes("info"):
                print(f"missed: {case.name} seed {seed}; found {sick.codes('info')}", flush=True)
    print("code     found in time                    right code first")
    for code in sorted(trials):
        print(f"{code}   {wilson(timely[code], trials[code]):30s}  {wilson(first[code], trials[code])}")
    total = sum(trials.values())
    print(
        f"all: found {wilson(sum(found.values()), total)}, in time {wilson(sum(timely.values()), total)}, ",
        end="",
    )
    print(f"right code first {wilson(sum(first.values()), total)}")
    runs = chain(binary_runs(2 * healthy // 3, first_seed), multiclass_runs(healthy // 3, first_seed))
    count = 0
    for name, run in runs:
        count += 1
        outcome = train(run)
        if causes(outcome):
            false.append(f"{name}: {causes(outcome)}")
    print(f"healthy runs with a finding at warning or above: {wilson(len(false), count + twins)}")
    print(*false, sep="\n")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))

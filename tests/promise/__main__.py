"""The promise as a command: ``python -m tests.promise`` makes many trials.

``make docs PAGES=promise`` publishes what they find.
"""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from rich.progress import track

from tests.promise import failures, interrupts, kills, mutations, names
from tests.promise.trials import Tried

INTRODUCTION = """\
# What was tried to break the promise

Nothing of ours ends a run that would have gone on, loses a record that was due two seconds ago, or lets
a name speak to the terminal. `make docs PAGES=promise` tries to break it, in real training runs and with
real logs, and writes this page; some of the trials run with every test.

| kind | trials | broken |
|---|---|---|
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the trials and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.promise", description=__doc__)
    parser.add_argument("--interrupts", type=int, default=500, help="exceptions from outside")
    parser.add_argument("--kills", type=int, default=200, help="runs of three sessions")
    parser.add_argument("--mutations", type=int, default=5000, help="logs that are not as they were written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the page here as well")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.getLogger("imbalance_doctor").addHandler(logging.NullHandler())
    logging.getLogger("imbalance_doctor").propagate = False
    kinds: Mapping[str, Callable[[], list[Tried]]] = {
        "kills": lambda: kills.trials(given.kills, given.seed),
        "interrupts": lambda: interrupts.trials(given.interrupts, given.seed),
        "failures": failures.trials,
        "names": names.trials,
        "mutations": lambda: mutations.trials(given.mutations, given.seed),
    }
    results = [result for name in track(kinds, "trials") for result in kinds[name]()]
    faults = [f"- {result.kind}: `{fault[:300]}`" for result in results for fault in result.faults]
    rows = [f"| {result.kind} | {result.trials:,} | {len(result.faults)} |" for result in results]
    where = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}."
    text = INTRODUCTION + "\n".join(rows) + f"\n\n{where}\n"
    if given.out is not None:
        given.out.write_text(text + ("\n## Broken\n\n" + "\n".join(faults) + "\n" if faults else ""))
    print(text, *faults, sep="\n")


if __name__ == "__main__":
    main()

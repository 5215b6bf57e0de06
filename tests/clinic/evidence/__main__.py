"""The experiments behind the tables in the rules' pages: ``python -m tests.clinic.evidence``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.clinic.evidence.experiment import code_of, experiment, names
from tests.clinic.evidence.results import FOLDER, write

_HELP = """\
Run experiments again, print their tables, and keep each in tests/clinic/evidence/results/.

  python -m tests.clinic.evidence --list          what there is
  python -m tests.clinic.evidence IMB106          every table of a rule's page
  python -m tests.clinic.evidence imb106_alpha    one of them
  python -m tests.clinic.evidence                 all of them: about an hour on one core
  python -m tests.clinic.evidence IMB106 --steps 20 --seeds 1 --out /tmp/try    does it work?
"""

_MORE = """\
Training is chaotic: another processor or another torch gives other numbers, within the spread over seeds.
Where a table has changed, put it into the rule's docstring, read the sentences around it again, and run
`make docs`. A test compares the page with what is kept here; none compares a new run with it.

To add a table: write tests/clinic/evidence/<code>_<subject>.py that defines EXPERIMENT (see experiment.py),
run it, and put the table that it prints into the page of that rule.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Conduct the chosen experiments."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.clinic.evidence",
        description=_HELP,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("chosen", nargs="*", metavar="CODE", help="codes of rules, or names of scripts")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--seeds", type=int, help="seeds 0 to N-1 in place of each experiment's own number")
    parser.add_argument("--steps", type=int, help="at most so many steps a run: a try, not evidence")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each (1)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where tables are kept")
    given = parser.parse_args(arguments)
    if given.steps is not None and given.out == FOLDER and not given.list:
        parser.error("expected --out with --steps: a table of cut runs must not replace the evidence")
    try:
        chosen = select(given.chosen)
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        print("\n".join(f"{name:36} {experiment(name).about}" for name in chosen))
        return
    torch.set_num_threads(1)  # what this process builds before it forks
    for name in chosen:
        _conduct(name, given.seeds, given.steps, given.workers, given.out)


def select(chosen: Sequence[str]) -> list[str]:
    """The scripts of these codes and names, or all."""
    known = names()
    strange = [c for c in chosen if not any(c.upper() == code_of(n) or c == n for n in known)]
    if strange:
        raise ValueError(f"expected codes or names that --list shows, got {', '.join(strange)}")
    return [n for n in known if not chosen or n in chosen or code_of(n) in [c.upper() for c in chosen]]


def _conduct(name: str, seeds: int | None, steps: int | None, workers: int, out: Path) -> None:
    chosen = experiment(name)
    seeds = seeds or chosen.seeds
    table = (chosen if steps is None else chosen.cut(steps)).conduct(seeds, workers, name)
    path = write(out, name, table, seeds, steps)
    print(f"{table.markdown()}\nkept in {path}\n", flush=True)


if __name__ == "__main__":
    main()

"""What the writer and the reader of a run log agree on, apart from what its lines hold."""

from __future__ import annotations

import stat
from pathlib import Path

#: Version of the format, in every header.
#: 1: the first one.
SCHEMA = 1

#: Characters of a text: seven pages, where what our rules say has three lines.
MOST_TEXT = 20_000

#: Levels of what holds others, in a line that is written and in a setting that is read. The deepest of ours
#: is a list among the settings of a loss in a wrapper, at the fifth.
MOST_LEVELS = 10


class LogError(ValueError):
    """A log that cannot be read; the message names the file and, where there is one, the line."""


def log_path(run_dir: Path, rank: int) -> Path:
    """Where the process of a rank writes."""
    return run_dir / f"diagnostics-rank{rank}.jsonl"


def kind_of(mode: int) -> str:
    """What is at a path that is no regular file, by its mode: a log is neither written there nor read."""
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")

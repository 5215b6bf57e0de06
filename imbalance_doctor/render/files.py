"""Writes a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

#: What a file has before the process's mask takes its part, as everywhere.
_NEW_FILE = 0o666
#: Links there name what a process has open: /dev/stdout, /dev/fd/63, /proc/self/fd/1.
_OPEN_FILES = re.compile(r"/dev/(fd/)?[^/]+|/proc/[^/]+/fd/\d+")


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place, under a name of its own, and move it there.

    A file that was there keeps its permissions; a link that was there is replaced, and what it points to
    stays as it is. Where writing fails nothing is left behind.

    Raises:
        OSError: The file cannot be written; in one sentence that names it.
    """
    part = path.with_name(f".imbalance-doctor-{secrets.token_hex(8)}.part")
    made: list[Path] = []
    try:
        made += (folder for folder in (path.parent, *path.parent.parents) if not folder.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_new(part, text, _mode(path))
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        if isinstance(error, OSError):
            raise _failed(path, error) from None
        raise


def pour(path: Path, text: str) -> None:
    """Write to a pipe or a device as it is.

    Raises:
        BrokenPipeError: Its reader has left.
        OSError: It cannot be written; in one sentence that names it.
    """
    try:
        with open(path, "ab") as file:
            file.write(text.encode())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failed(path, error) from None


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device, or one of the names under which the system has open files."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if stat.S_ISLNK(found.st_mode):
        return _OPEN_FILES.fullmatch(os.path.abspath(path)) is not None
    return not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode)


def _write_new(path: Path, text: str, mode: int | None) -> None:
    """A file that was not there, for its owner alone until it has the permissions of the one it replaces."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, _NEW_FILE if mode is None else 0o600), "wb") as file:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())  # after a power cut there is the old file or the new one, and no empty one


def _mode(path: Path) -> int | None:
    """The permissions of a file; None where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else None


def _failed(path: Path, error: OSError) -> OSError:
    return OSError(f"{path}: cannot be written: {error.strerror or error}")

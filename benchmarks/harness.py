"""How everything here is measured."""

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

Step = Callable[[], object]


@dataclass
class Table:
    """A Markdown table.

    Attributes:
        title: What is measured.
        head: The columns.
        rows: The cells, as they are shown.
        note: Paragraphs above the table.
        figure: Markdown below it.
        headlines: Sentences for the top of the page: ratios, for times depend on the machine.
        missed: What fell short of its goal.
    """

    title: str
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""
    figure: str = ""
    headlines: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def judge(self, what: str, value: float, goal: float | None, *, least: bool = False) -> str:
        """The goal as a cell; a value that falls short of it is noted."""
        if goal is None:
            return ""
        if value < goal if least else value > goal:
            bound = "at least" if least else "at most"
            self.missed.append(f"{what}: {value:.3g} ({bound} {goal:g})")
        return f"{goal:g}"

    def __str__(self) -> str:
        lines = ["| " + " | ".join(self.head) + " |", "|---" * len(self.head) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        parts = [f"### {self.title}", self.note, "\n".join(lines), self.figure]
        return "\n\n".join(part for part in parts if part)


def compare(*steps: Step, seconds: float = 2.0, least: int = 3, most: int = 300) -> list[float]:
    """Median seconds of each step, run in turns so that a busy moment of the machine hits all alike."""
    for step in steps:
        step()
    times: list[list[float]] = [[] for _ in steps]
    end = time.perf_counter() + seconds
    while len(times[0]) < least or (time.perf_counter() < end and len(times[0]) < most):
        for step, taken in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def extra_memory(module: str, case: str, library: str) -> float | None:
    """MiB that one step adds to the peak of a process that has done a small step before; None if it dies."""
    command = [sys.executable, "-c", f"import {module} as m; m.measure_memory({case!r}, {library!r})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    return float(done.stdout) if done.returncode == 0 else None


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # the resource module would count the parent's peak as well
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident() -> float:
    """Resident size of this process now, in MiB; the largest so far where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak()
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20


def machine() -> str:
    """The machine in a line."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{name}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}{load}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def mebibytes(amount: float | None) -> str:
    return "does not fit" if amount is None else f"{amount:.0f} MiB"

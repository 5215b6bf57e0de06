"""Where a run's records and findings go besides its log: TensorBoard, a tracker of experiments, a pager."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Protocol

from imbalance_doctor.findings import Finding
from imbalance_doctor.records import Record, RunInfo


class Sink(Protocol):
    """A place that the records and findings of a run are sent to while it trains.

    **Order.** ``begin``; then ``record`` and ``finding``, as often as there is something; then ``close``. A
    run that goes back to a checkpoint has another ``begin`` in between. So has, after ``close``, a later
    run of a callback that was given the sink.

    **Thread.** All calls come one after the other from one thread, which is the sink's own. A sink that is
    slow, because it uploads, delays neither the training loop nor the run log nor another sink. Where it
    falls far behind, step records are left out until it has caught up, with a warning. `Doctor.close` waits
    until the sink has taken everything, but no longer than half a minute. What a killed process had not
    sent yet is missing in the sink, but not in the run log. Import what the sink needs when it is made, not
    in ``begin``: a process that is forked while a thread imports a module cannot import that module.

    **Failure.** If a method raises, one warning says so, and the sink is called no more, not even to close.

    **Processes.** In distributed training only rank 0 has sinks. A process forked from a running one has
    none, and neither has a doctor that was saved and loaded.

    **Names.** Names of losses, classes, statistics and metrics and the texts of findings are cleaned: one
    line, no control characters, bounded length. Names that look alike are numbered.

    Records are shared with others: do not write to their arrays. A sink may have an attribute ``name``, a
    text that warnings call it by; the default is the name of its class.
    """

    def begin(self, info: RunInfo) -> None:
        """A session begins at step ``info.start_step``. It supersedes what was sent before from there on."""

    def record(self, record: Record) -> None:
        """Something was recorded.

        One of `WatchRecord` (a loss and its settings), `StepRecord` (statistics of one loss at one step,
        and the numbers given to `Doctor.step`), `EvalRecord` (validation metrics per class),
        `TreatmentRecord` (a changed setting) and `EndRecord` (the run was closed in good order). Ignore
        other types: later versions may add some. Within a session the steps of one loss grow; an evaluation
        may be of an earlier step.
        """

    def finding(self, finding: Finding) -> None:
        """A finding opened or grew graver (``status`` is "open"), or was resolved."""

    def close(self) -> None:
        """The run is over. Called once, and only if a session has begun."""


#: What each method of a sink is given.
_METHODS = {"begin": ("info",), "record": ("record",), "finding": ("finding",), "close": ()}


def checked(sinks: Any) -> list[Sink]:
    """The sinks, each of which has what a sink needs.

    Raises:
        TypeError: It is no list, or one lacks a method or has one that takes something else.
    """
    if isinstance(sinks, (str, bytes)) or not isinstance(sinks, Iterable):
        raise TypeError(f"expected sinks to be a list of sinks, got {type(sinks).__name__}")
    found = list(sinks)
    for sink in found:
        if isinstance(sink, type):
            raise TypeError(f"expected a sink, got the class {sink.__name__}: give an instance of it")
        missing = [method for method in _METHODS if not _has(sink, method)]
        if missing:
            raise TypeError(
                f"expected a sink to have the methods {_listed(_METHODS)}, "
                f"got {type(sink).__name__} without {_listed(missing)}"
            )
    return found


def name_of(sink: Sink) -> str:
    """What warnings call a sink."""
    name = getattr(sink, "name", None)
    return name if isinstance(name, str) and name else type(sink).__name__


def _has(sink: Any, method: str) -> bool:
    """Whether a sink has a method of this name that can be called with what it will be given."""
    work = getattr(sink, method, None)
    if not callable(work):
        return False
    try:
        inspect.signature(work).bind(*_METHODS[method])
    except ValueError:  # written in C, it does not say what it takes
        return True
    except TypeError:
        return False
    return True


def _listed(methods: Iterable[str]) -> str:
    return ", ".join(f"{method}({', '.join(_METHODS[method])})" for method in methods)

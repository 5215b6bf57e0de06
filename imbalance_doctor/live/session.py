"""Where a run stands: how many steps it has made, what they are called, and what it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imbalance_doctor.findings import Finding
from imbalance_doctor.guard import described, from_outside, warn
from imbalance_doctor.records import Array, EvalRecord, whole

#: Version of the state of a checkpoint. 1: the first one.
STATE = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds of a run: its last step, None before the first one, and its findings."""

    step: int | None = None
    findings: tuple[Finding, ...] = ()

    @staticmethod
    def from_dict(state: Any) -> Checkpoint:
        """The checkpoint of a state.

        Raises:
            ValueError: It is none of `to_dict`.
        """
        if not isinstance(state, Mapping) or state.get("version") != STATE:
            raise ValueError(f"expected the state of a Doctor, version {STATE}, got {_described(state)}")
        try:
            findings = tuple(Finding.from_dict(finding) for finding in state["findings"])
            return Checkpoint(None if state["step"] is None else whole(state["step"]), findings)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this state of a Doctor cannot be read ({described(error)})") from None

    def to_dict(self) -> dict[str, Any]:
        """The checkpoint as plain data, ready for JSON."""
        findings = [finding.to_dict() for finding in self.findings]
        return {"version": STATE, "step": self.step, "findings": findings}


class Session:
    """Counts steps, and knows their numbers, what they go on from, and what came before the first of them.

    Args:
        remark: Told of a number that is none: a kind of remark, and the remark.
    """

    def __init__(self, remark: Callable[[str, str], None]) -> None:
        #: Steps that are over. The schedules count them, whatever the user calls them.
        self.steps = 0
        #: What the newest one is called; None before the first one.
        self.step: int | None = None
        #: The first step after which there is something to do again.
        self.wake = 0
        self._remark = remark
        self._from = Checkpoint()
        self._goes_back = False  # to a checkpoint of the session itself
        self._early: list[tuple[int | None, dict[str, Array]]] = []  # evaluations before the first step
        self._warned = False

    @property
    def begins(self) -> bool:
        """Whether the next step begins a session: it is the first one, or the run goes back."""
        return self.step is None or self._goes_back

    @property
    def resumed(self) -> Sequence[Finding]:
        """Findings of the checkpoint that this session goes on from."""
        return self._from.findings

    def wake_up(self) -> None:
        """The next step has something to do."""
        self.wake = 0

    def sleep_until(self, step: int) -> None:
        """Nothing is to do before as many steps are over."""
        self.wake = step

    # --- numbers ----------------------------------------------------------------------------------------

    def number(self, step: Any) -> int:
        """What the step is called that is over: its number, or the next one where it has none that can be."""
        last = self._from.step if self.begins else self.step
        following = 0 if last is None else last + 1
        number = None if step is None else self.known(step, "the doctor numbers this step itself")
        if number is None:
            return following
        if self.begins or number >= following:
            return number
        if not self._warned:
            self._warned = True
            warn(
                f"imbalance-doctor: step {number} came after step {last}. Step numbers must increase, so "
                "the doctor now numbers steps itself. Pass the global step, once per optimizer step. To go "
                "back to a checkpoint, call doctor.load_state_dict(state)."
            )
        return following

    def known(self, step: Any, instead: str) -> int | None:
        """The number of a step; None where it is none.

        Args:
            step: What was given for it.
            instead: What is done where it is none, as a clause.
        """
        try:
            return whole(step)
        except ValueError as error:
            if from_outside(error):
                raise
            self._remark("step", f"{error}; {instead}")
            return None

    # --- checkpoints ------------------------------------------------------------------------------------

    def checkpoint(self, findings: Sequence[Finding]) -> Checkpoint:
        """What a checkpoint is to hold now: before a session's first step, the one that it goes on from."""
        return self._from if self.begins else Checkpoint(self.step, tuple(findings))

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """The next step goes on from a checkpoint; where there were some, the run goes back to it."""
        self._from = checkpoint
        if self.step is not None:
            self._goes_back = True
            self.wake_up()

    def begun(self) -> None:
        """The session is on record."""
        self._goes_back = False

    # --- evaluations before the first step --------------------------------------------------------------

    @property
    def evaluated_early(self) -> bool:
        """Whether there are some."""
        return bool(self._early)

    def keep(self, step: int | None, metrics: dict[str, Array]) -> None:
        """Keep an evaluation: only the first step tells where this session begins, and what it supersedes."""
        self._early.append((step, metrics))

    def early(self, first: int) -> Iterator[EvalRecord]:
        """Those that were kept, as records of their step or the first one; each is kept until it is taken."""
        while self._early:
            step, metrics = self._early[0]
            yield EvalRecord(first if step is None else step, metrics)
            del self._early[0]

    def after_the_end(self, following: int) -> int:
        """Evaluations of a run that is over belong to its last step, and supersede nothing.

        Args:
            following: The step after the last one that is on record.

        Returns:
            The first step of the session that adds them.
        """
        last = self._from.step
        first = max(following, 0 if last is None else last + 1)
        at = max(first - 1, 0) if last is None else last
        self._early = [(at if step is None else step, metrics) for step, metrics in self._early]
        return first


def _described(state: Any) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    return f"version {state['version']!r}" if "version" in state else f"keys {[*map(str, state)]}"

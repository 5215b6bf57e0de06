"""Where the records of a run go: the log, the checkup, the sinks. Each part fails for itself."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.findings import Failed, Finding
from imbalance_doctor.guard import Guard, attempt, failures, warn
from imbalance_doctor.live.delivery import PATIENCE, Delivery
from imbalance_doctor.live.sinks import Sink
from imbalance_doctor.log import (
    LogWriter,
    before,
    encode,
    encode_failed,
    encode_finding,
    encode_note,
    exclusive,
    header,
    log_path,
    read_log,
    records_in,
)
from imbalance_doctor.log.run import Run, RunReader
from imbalance_doctor.records import EndRecord, Record, RunInfo, StartRecord, StepRecord
from imbalance_doctor.rules.base import Rule


@dataclass(frozen=True)
class Draft:
    """A record that may be made later.

    Attributes:
        step: Its step.
        loss: Of whom it is.
        make: Reads it, and changes nothing; None where it cannot be made.
        follow: Draws from it what later steps are to leave. Twice is as good as once.
    """

    step: int
    loss: str
    make: Callable[[], StepRecord | None]
    follow: Callable[[StepRecord], None]


class Journal:
    """The record of one run, as it is made.

    A record may wait: counts of a small batch are described several at once, because torch and NumPy take
    three times as long for their first call in the middle of a training step as for the next ones. Whatever
    comes after a record puts it down first, so that nothing can tell that it has waited.

    Args:
        info: What is known of the run before its first step.
        rules: The rules to apply.
        run_dir: Where the log goes; None keeps the records in memory.
        sinks: Where records and findings go besides.
    """

    def __init__(
        self, info: RunInfo, rules: Sequence[Rule], run_dir: Path | None, sinks: Iterable[Sink] = ()
    ) -> None:
        self.info, self.run_dir = info, run_dir
        self.checkup = Checkup(info, rules)
        self._deliveries = [Delivery(sink) for sink in sinks]
        self._process = os.getpid()  # the one that writes
        self._begun = False
        #: Findings that came with a checkpoint, and no records with them.
        self._resumed: Sequence[Finding] = ()
        #: What has been written down of findings.
        self._told: set[tuple[object, ...]] = set()
        self._waiting: deque[Draft] = deque()
        self._since = 0.0  # when the oldest of them began to wait
        self._settling = self._ended = self._closed = False
        self._newest: dict[str, int] = {}  # the step of the newest record of each loss
        self._records: list[Record] = []  # the run itself, where there is no run_dir
        self._notes: list[str] = []
        self._remarked: set[str] = set()
        self._failed_rules: set[str] = set()
        self._log: LogWriter | None = None
        self._logging = Guard("the run log", "what was written stays, but nothing more is logged")
        self._examining = Guard("the checkup", "rules are no longer applied")

    @property
    def notes(self) -> list[str]:
        """What a reader of the diagnosis should know: parts that failed, what is left out."""
        of_sinks = chain.from_iterable(delivery.notes for delivery in self._deliveries)
        return [*failures(self._logging, self._examining), *of_sinks, *self._notes]

    @property
    def run(self) -> Run:
        """The run as it was put down so far.

        Raises:
            LogError: The log cannot be read back.
        """
        if self._log is None:
            failed = [Failed(*each) for each in self.checkup.failed.items()]
            return Run(self.info, list(self._records), notes=list(self._notes), failed=failed)
        return RunReader(self._log.path).read_on()

    @property
    def is_ours(self) -> bool:
        """Whether this process is the one that writes: a fork of it is not."""
        return os.getpid() == self._process

    def move_here(self) -> None:
        """From now on it is this process that writes."""
        self._process = os.getpid()

    def begin(self, step: int, resumed: Sequence[Finding]) -> None:
        """The first step of a session is known: read what came before it, and write the header.

        Where the run goes back to a checkpoint, the session supersedes what this one has from there on.

        Args:
            step: The first step of this session.
            resumed: Findings of an earlier session, for a run whose log does not tell of one.
        """
        self.settle()
        self._begun = False
        rank, world_size = _process()  # only now: the process group may be younger than the doctor
        self.info = replace(self.info, start_step=step, rank=rank, world_size=world_size)
        self.checkup = Checkup(self.info, self.checkup.rules)
        path = None if self.run_dir is None else log_path(self.run_dir, rank)
        if path is not None:
            exclusive.displace(path)  # what it still has to say belongs to the run that is read here
        earlier = before(self._on_record(), step)
        # Findings of the earlier sessions stay open, and are not told again.
        for record in earlier:
            self._told.update(map(_episode, self._examining(self.checkup.feed, record) or ()))
        if self.checkup.history.records:
            self._examining(self.checkup.feed, StartRecord(step))
            resumed = ()  # the records know more
        if path is None:
            self._records = [*earlier, StartRecord(step)] if earlier else []
        else:
            self._log = self._logging(LogWriter, path, last_words=self.settle)
            self._write(header(self.info))
        self._failed_rules.clear()  # each session says it
        self.checkup.restore(resumed)
        self._resumed = resumed
        self._newest, self._ended = {}, False
        self._begun = True
        if rank == 0:
            for delivery in self._deliveries:
                delivery.begin(self.info)

    def next_step(self) -> int:
        """The step after the last one that is on record; 0 where there is none."""
        return 1 + max((record.step for record in self._on_record()), default=-1)

    def _on_record(self) -> Sequence[Record]:
        """What there is of this run."""
        if self.run_dir is None:
            return self._records
        return self._logging(records_in, log_path(self.run_dir, _process()[0])) or []

    def wait(self, drafts: Iterable[Draft]) -> None:
        """Put down these records later, in this order and before any other."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += drafts

    @property
    def waits(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    @property
    def waited(self) -> float:
        """Seconds for which the oldest of what waits has done so."""
        return time.monotonic() - self._since if self._waiting else 0.0

    def settle(self) -> list[Finding]:
        """Put down what waits, unless this process is a fork of the one that heard it.

        Returns:
            Findings that it opened, made graver or resolved.
        """
        changed: list[Finding] = []
        if not self.is_ours:
            self._waiting.clear()
        if self._settling:  # the handler of a signal asks, in the middle of it
            return []
        self._settling = True
        # One is taken off when it is on record: whoever is cut short in between finds it there, and goes on.
        while self._waiting:
            draft = self._waiting[0]
            record = None if self._newest.get(draft.loss) == draft.step else draft.make()
            if record is not None:
                draft.follow(record)
                changed += self._put_down(record)
            self._waiting.popleft()
        self._settling = False
        return changed

    def take(self, record: Record) -> list[Finding]:
        """Log, examine and send one record, after those that wait.

        Returns:
            Findings that they opened, made graver or resolved.
        """
        return self.settle() + self._put_down(record)

    def _put_down(self, record: Record) -> list[Finding]:
        if self._ended or not self.is_ours:
            return []
        if self.run_dir is None:
            self._records.append(record)
        elif self._log is not None:
            self._logging(lambda log: log.write(*encode(record)), self._log)
        self._count(record)
        changed = self._examining(self.checkup.feed, record) or []
        for code in self.checkup.failed.keys() - self._failed_rules:
            self._failed_rules.add(code)
            rule = Failed(code, self.checkup.failed[code])
            warn(f"imbalance-doctor: {rule}.")
            self._write(encode_failed(rule))
        for delivery in self._deliveries:
            delivery.record(record)
        self._tell(changed)
        return changed

    def _count(self, record: Record) -> None:
        if isinstance(record, StepRecord):
            self._newest[record.loss] = record.step
        self._ended = isinstance(record, EndRecord)

    def recover(self) -> list[Finding]:
        """Believe what is on record and nothing else: something was cut short in the middle.

        Returns:
            Findings of which the record does not tell yet: they are told there and here.
        """
        self._settling = False
        if not self._begun:
            return []
        records: Sequence[Record] = self._records
        if self._log is not None:
            log = attempt(read_log, self._log.path)
            if log is None:
                return []
            records = log.records
        self.checkup, self._newest = Checkup(self.info, self.checkup.rules), {}
        self.checkup.restore(self._resumed)
        changed: list[Finding] = []
        for record in records:
            self._count(record)
            changed += self._examining(self.checkup.feed, record) or []
        untold = [finding for finding in changed if _episode(finding) not in self._told]
        self._tell(untold)
        return untold

    def _tell(self, findings: Sequence[Finding]) -> None:
        """Write down and send what findings have become."""
        if findings:
            self._write(*map(encode_finding, findings))
            self._told.update(map(_episode, findings))
        for finding in findings:
            for delivery in self._deliveries:
                delivery.finding(finding)

    def note(self, text: str) -> None:
        """Keep something that a reader of the run should know."""
        self._notes.append(text)
        self._write(encode_note(text))

    def remark(self, kind: str, text: str, *, aloud: bool = True) -> None:
        """Note something once for its kind, and warn of it: what comes later is alike."""
        if kind not in self._remarked:
            self._remarked.add(kind)
            self.note(text)
            if aloud:
                warn(f"imbalance-doctor: {text}.")

    def close(self) -> None:
        """Put down what waits, and end the log and the sinks; a second call does nothing."""
        if not self.is_ours:  # a fork has neither the lock nor the threads of its parent
            return
        self.settle()
        self._ended = self._closed = True
        if self._log is not None:
            attempt(self._log.close)  # a full disk says so again; it has been reported
        for delivery in self._deliveries:
            delivery.close()

    def join(self) -> None:
        """Wait until the sinks have taken everything, after `close`; half a minute at the most.

        In nobody's turn: a sink may ask its doctor for the diagnosis.
        """
        until = time.monotonic() + PATIENCE
        for delivery in self._deliveries:
            delivery.join(until)

    def _write(self, *lines: str) -> None:
        if self._log is not None and not self._closed:
            self._logging(self._log.write, *lines)


def _episode(finding: Finding) -> tuple[object, ...]:
    """What tells one event in the life of a finding from another."""
    return (
        finding.code,
        finding.loss,
        finding.class_index,
        finding.status,
        finding.severity,
        finding.last_step if finding.status == "resolved" else finding.step,
    )


def _process() -> tuple[int, int]:
    """Rank and world size of this process."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1

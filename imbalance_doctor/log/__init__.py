"""The run log: append-only JSON Lines, one self-describing object a line, one file per writing process.

Each session of a run starts with a header (``"kind": "run"``); a resumed run appends a new header, and its
steps supersede older ones from its first step on. Numbers are written as decimal text that reads back to
the same float32. Lines are handed to the operating system whole, one write each, so that a
killed process leaves at most one torn line, which the reader skips and counts.

What a line may hold is in `schema`, for the writer and the reader alike.
"""

from imbalance_doctor.log.format import SCHEMA, LogError, log_path
from imbalance_doctor.log.reader import Log, LogReader, before, read_log, records_in
from imbalance_doctor.log.writer import LogWriter, encode, encode_failed, encode_finding, encode_note, header

__all__ = [
    "SCHEMA",
    "Log",
    "LogError",
    "LogReader",
    "LogWriter",
    "before",
    "encode",
    "encode_failed",
    "encode_finding",
    "encode_note",
    "header",
    "log_path",
    "read_log",
    "records_in",
]

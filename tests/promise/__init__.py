"""Attempts to break the promise: nothing of ours ends a run, loses a record, or is silent about it.

Each module makes trials of one kind, as many as it is asked for: ``python -m tests.promise`` makes many and
writes `docs/promise.md`, the tests beside them some.
"""

"""Benchmarks: `python -m benchmarks [name ...] [--quick]`.

A benchmark is a module of this package with a `SUMMARY` of one line and a `run(quick, progress)` that yields
tables; `python -m benchmarks` finds it by its file name and, with `-o`, writes its section of a page. Times
are ratios of interleaved medians (`harness.compare`), memory is measured in processes of its own
(`harness.extra_memory`).
"""

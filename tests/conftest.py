"""What holds for every test: a warning of the monitor's that no test expects is a failure.

Warnings are errors here, and the monitor outlives those: it says the same through its logger. So its own are
let through, and counted.
"""

from __future__ import annotations

import warnings

import pytest

from imbalance_doctor import ImbalanceWarning

_unexpected: list[str] = []


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Keep what nobody expected."""
    if issubclass(warning_message.category, ImbalanceWarning):
        _unexpected.append(f"{nodeid}: {warning_message.message}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the tests as a whole."""
    if _unexpected and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for text in _unexpected:
        terminalreporter.write_line(f"UNEXPECTED {text}", red=True)

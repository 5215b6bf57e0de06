"""How a command ends: exit codes, and errors in one line on stderr. Never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import click

from imbalance_doctor.cli.output import say
from imbalance_doctor.findings import SEVERITIES, Diagnosis, at_least
from imbalance_doctor.guard import attempt, described
from imbalance_doctor.log import LogError
from imbalance_doctor.texts import shortened

#: Nothing at or above ``--fail-on``.
EXIT_OK = 0
#: Findings at or above ``--fail-on``.
EXIT_FINDINGS = 1
#: Wrong usage, input that cannot be read, or rules that failed: one line on stderr.
EXIT_USAGE = 2
#: Ctrl-C: 128 and the signal's number, what shells expect.
EXIT_INTERRUPTED = 130

#: Characters of a traceback; a hundred calls have some 20,000.
MOST_TRACE = 50_000


def exit_code(diagnosis: Diagnosis, fail_on: str) -> int:
    """What a command that diagnosed ends with; says which rules failed."""
    if diagnosis.failed:
        codes = ", ".join(rule.code for rule in diagnosis.failed)
        say(f"imbalance-doctor: these rules failed, so what they look for was not examined: {codes}")
    if fail_on == "never":
        return EXIT_OK
    floor = next(severity for severity in SEVERITIES if severity == fail_on)
    if any(at_least(finding.severity, floor) for finding in diagnosis.open):
        return EXIT_FINDINGS
    return EXIT_USAGE if diagnosis.failed else EXIT_OK


def ended(command: Callable[[], object]) -> int:
    """Carry out a command and return its exit code; what it raises becomes one line and a code."""
    try:
        result = command()
        return result if isinstance(result, int) else EXIT_OK
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("imbalance-doctor: interrupted")
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        attempt(click.echo, error.format_message(), err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        hint = " (--help shows how)" if isinstance(error, click.UsageError) else ""
        say(f"imbalance-doctor: {' '.join(error.format_message().split())}{hint}")
        return EXIT_USAGE
    except BrokenPipeError:  # the reader of our pipe has left, as `head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the interpreter ends
        return EXIT_OK
    except (LogError, ValueError, OSError, ModuleNotFoundError) as error:
        say(f"imbalance-doctor: {' '.join(str(error).split())}")
        return EXIT_USAGE
    except Exception as error:  # a traceback would exit with 1, which means findings
        say(f"imbalance-doctor: this is a bug: {described(error)}; set IMBALANCE_DOCTOR_DEBUG=1 to see where")
        if os.environ.get("IMBALANCE_DOCTOR_DEBUG"):
            for line in shortened(traceback.format_exc(), MOST_TRACE).splitlines():
                say(line)
        return EXIT_USAGE

"""The command line: `imbalance-doctor`, `python -m imbalance_doctor`, or `main(argv)`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imbalance_doctor.diagnose import diagnose
from imbalance_doctor.files import is_stream, pour, write_whole
from imbalance_doctor.findings import SEVERITIES, Diagnosis, at_least
from imbalance_doctor.guard import attempt, described
from imbalance_doctor.preflight import options
from imbalance_doctor.preflight import preflight as judge
from imbalance_doctor.project import Project, find_project
from imbalance_doctor.rules import find_rule, rule_page
from imbalance_doctor.rules.base import Rule
from imbalance_doctor.run import Run, load_run
from imbalance_doctor.runlog import LogError
from imbalance_doctor.selection import Choice, said_thresholds
from imbalance_doctor.texts import clean, shortened
from imbalance_doctor.tuning import thresholds_of

if TYPE_CHECKING:
    from imbalance_doctor.follow import Look

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

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="imbalance-doctor")
def cli() -> None:
    """Tells you why a PyTorch model on rare positives does not learn.

    \b
    New here?                     imbalance-doctor demo
    A run that you logged         imbalance-doctor report runs/fraud-01
    The same, as a page           imbalance-doctor report runs/fraud-01 --format html
    A run that is training        imbalance-doctor watch runs/fraud-01
    Before you train              imbalance-doctor preflight --help
    What a finding means          imbalance-doctor explain empty-band
    """  # noqa: D301 - \\b tells click to keep the lines


def _text(diagnosis: Diagnosis, run: Run) -> str:
    from imbalance_doctor.render.terminal import as_text

    return as_text(diagnosis)


def _json(diagnosis: Diagnosis, run: Run) -> str:
    return _json_of(diagnosis)


def _json_of(diagnosis: Diagnosis) -> str:
    from imbalance_doctor.render.json import as_json

    return as_json(diagnosis)


def _markdown(diagnosis: Diagnosis, run: Run) -> str:
    from imbalance_doctor.render.markdown import as_markdown

    return as_markdown(diagnosis)


def _junit(diagnosis: Diagnosis, run: Run) -> str:
    from imbalance_doctor.render.junit import as_junit

    return as_junit(diagnosis)


def _sarif(diagnosis: Diagnosis, run: Run) -> str:
    from imbalance_doctor.render.sarif import as_sarif

    return as_sarif(diagnosis)


def _github(diagnosis: Diagnosis, run: Run) -> str:
    from imbalance_doctor.render.github import as_github

    return as_github(diagnosis)


def _html(diagnosis: Diagnosis, run: Run) -> str:
    from imbalance_doctor.render.html import as_page

    return as_page(diagnosis, run)


_fail_on = click.option(
    "--fail-on",
    type=click.Choice([*SEVERITIES, "never"]),
    default="error",
    show_default=True,
    help="Exit with 1 if a finding of this severity or above is open.",
)
_select = click.option(
    "--select",
    metavar="CODES",
    help="Only these rules: codes, names or prefixes, e.g. IMB4,few-positives-in-pool.",
)
_ignore = click.option("--ignore", metavar="CODES", help="Leave these rules out.")
_threshold = click.option(
    "--threshold",
    "thresholds",
    metavar="RULE.NAME=VALUE",
    multiple=True,
    help="Change a threshold, e.g. IMB003.poor=3; may be given again. `explain RULE` lists them.",
)

FORMATS: dict[str, Callable[[Diagnosis, Run], str]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "junit": _junit,
    "sarif": _sarif,
    "github": _github,
    "html": _html,
}


@cli.command(context_settings=CONTEXT, short_help="Diagnose a run from its log.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write here; - is stdout. HTML goes to RUN/report.html by default, the others to stdout. "
    "A file keeps its permissions, a link is replaced.",
)
@_fail_on
@_select
@_ignore
@_threshold
def report(
    run: Path,
    form: str,
    output: Path | None,
    fail_on: str,
    select: str | None,
    ignore: str | None,
    thresholds: Sequence[str],
) -> int:
    """Diagnose a run from its log: what is wrong, on which class, since when, why, and what to change.

    RUN is a run directory or one of its log files. A run that is still being written, or that was
    killed, can be read too.

    \b
    imbalance-doctor report runs/fraud-01
    imbalance-doctor report runs/fraud-01 --format html
    imbalance-doctor report runs/fraud-01 --format json --fail-on warning > diagnosis.json
    imbalance-doctor report runs/fraud-01 --format github     annotations in a GitHub workflow

    Rules are chosen by the options here, then by what the run itself chose, then by
    [tool.imbalance-doctor] of the nearest pyproject.toml.
    """  # noqa: D301
    said = _thresholds(thresholds)
    loaded = load_run(run)
    project = find_project()
    diagnosis = diagnose(
        loaded, select=_codes(select), ignore=_codes(ignore), thresholds=said, project=project.choice
    )
    diagnosis = project.noted(diagnosis)
    if form == "html" and output is None:
        page = (run if run.is_dir() else run.parent) / "report.html"
        write_whole(page, FORMATS[form](diagnosis, loaded))
        _say(f"wrote {page}")
    elif output is not None and str(output) != "-":
        write = pour if is_stream(output) else write_whole
        write(output, FORMATS[form](diagnosis, loaded).rstrip("\n") + "\n")
        _say(f"wrote {output}")
    elif form == "text" and output is None:
        _print(diagnosis)
    else:
        click.echo(FORMATS[form](diagnosis, loaded).rstrip("\n"))
    return _exit_code(diagnosis, fail_on)


@cli.command(context_settings=CONTEXT, short_help="Follow a run while it trains.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds.")
def watch(run: Path, interval: float) -> int:
    """Follow a run while it trains: the diagnosis as it stands, until the run ends or you press Ctrl-C.

    RUN is a run directory, which may be empty still. On a terminal the diagnosis is shown anew each time the
    log has grown; in a pipe each finding is a line when it opens and when it is resolved.

    \b
    imbalance-doctor watch runs/fraud-01
    """  # noqa: D301
    with contextlib.suppress(KeyboardInterrupt):  # how one stops watching
        from imbalance_doctor.follow import follow

        project = find_project()
        looks = follow(run, project.choice, interval=interval)
        show = _show_live if sys.stdout is not None and sys.stdout.isatty() else _show_lines
        show(looks, run, project)
    return EXIT_OK


def _show_live(looks: Iterable[Look], run: Path, project: Project) -> None:
    from rich.live import Live
    from rich.text import Text

    waiting = Text(f"waiting for a log in {clean(str(run))} ...")
    with Live(waiting, auto_refresh=False, vertical_overflow="visible") as live:
        for look in looks:
            if look.diagnosis is not None:
                live.update(project.noted(look.diagnosis), refresh=True)


def _show_lines(looks: Iterable[Look], run: Path, project: Project) -> None:
    for note in project.notes:
        _say(f"Note: {note}")
    known: set[tuple[Any, ...]] = set()
    for look in looks:
        for finding in look.diagnosis.findings if look.diagnosis is not None else ():
            key = (finding.code, finding.loss, finding.class_index, finding.step, finding.status)
            if key not in known:
                known.add(key)
                word = finding.severity.upper() if finding.status == "open" else "resolved"
                click.echo(f"{word} {finding.headline()}")


@cli.command(context_settings=CONTEXT, short_help="Write a run's panels for TensorBoard.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--logdir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where the event files go; made if it is not there.",
)
def tensorboard(run: Path, logdir: Path) -> int:
    """Write what a run's log holds as TensorBoard panels: for a run that was trained without them.

    \b
    imbalance-doctor tensorboard runs/fraud-01 --logdir tb/fraud-01
    tensorboard --logdir tb
    """  # noqa: D301
    from imbalance_doctor.render.tensorboard import write_run

    loaded = load_run(run)
    project = find_project()
    write_run(loaded, diagnose(loaded, project=project.choice), logdir)
    for note in project.notes:
        _say(f"Note: {note}")
    _say(f"wrote {logdir}; look at it with: tensorboard --logdir {logdir}")
    return EXIT_OK


def _loss_settings(command: Callable[..., int]) -> Callable[..., int]:
    """An option for each setting of the losses."""
    for setting in reversed(options.settings()):
        flag = f"--{setting.name.replace('_', '-')}"
        command = click.option(flag, setting.name, metavar="VALUE", help=setting.help)(command)
    return command


@cli.command(context_settings=CONTEXT, short_help="Judge a configuration before the run.")
@click.option("--loss", type=click.Choice(list(options.loss_types())), required=True, help="The loss.")
@click.option(
    "--positive-rate",
    metavar="RATE",
    required=True,
    help="Share of positives in the data, e.g. 0.005; with several classes one each, e.g. 0.9,0.08,0.02.",
)
@click.option("--batch-size", type=int, required=True, help="Rows of a batch; of each process.")
@click.option("--total-steps", type=int, help="Length of the run in steps.")
@click.option("--epochs", type=int, help="Length of the run in epochs, where a schedule is in epochs.")
@click.option("--world-size", type=int, default=1, show_default=True, help="Processes that train together.")
@click.option("--target-metric", metavar="NAME", help="What the run is for, e.g. average_precision.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_fail_on
@_select
@_ignore
@_threshold
@_loss_settings
def preflight(
    loss: str,
    positive_rate: str,
    batch_size: int,
    total_steps: int | None,
    epochs: int | None,
    world_size: int,
    target_metric: str | None,
    form: str,
    fail_on: str,
    select: str | None,
    ignore: str | None,
    thresholds: Sequence[str],
    **given: str | None,
) -> int:
    """Judge a configuration before the run: what will go wrong, and values that pass.

    
    imbalance-doctor preflight --loss smooth_ap --positive-rate 0.002 --batch-size 64
    imbalance-doctor preflight --loss pauc_at_budget --positive-rate 0.002 --batch-size 64 \\
        --beta 0.01 --queue-size 8192 --warmup-steps 500 --total-steps 20000

    Settings of a loss are those of its constructor. With one of the warmup wrapper's, such as
    --warmup-steps, the loss is the main loss after a warmup on BCE (or cross-entropy).
    """  # noqa: D301
    rates = _rates(positive_rate)
    settings = {name: text for name, text in given.items() if text is not None}
    project = find_project()
    said = said_thresholds(_thresholds(thresholds))
    choice = Choice(_codes(select), _codes(ignore), said).over(project.choice)
    diagnosis = judge(
        options.build(loss, settings, classes=len(rates)),
        batch_size=batch_size,
        positive_rate=rates[0] if len(rates) == 1 else rates,
        total_steps=total_steps,
        epochs=epochs,
        world_size=world_size,
        target_metric=target_metric,
        select=choice.select,
        ignore=choice.ignore,
        thresholds=choice.thresholds,
    )
    diagnosis = project.noted(diagnosis)
    if form == "json":
        click.echo(_json_of(diagnosis))
    else:
        _print(diagnosis)
    return _exit_code(diagnosis, fail_on)


@cli.command(context_settings=CONTEXT, short_help="List the rules.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_select
@_ignore
def rules(form: str, select: str | None, ignore: str | None) -> int:
    """List the rules: code, name, severity, the symptom each looks for, and its thresholds.

    Thresholds, and the rules that are chosen, are those of [tool.imbalance-doctor] in the nearest
    pyproject.toml, where there is one:

    \b
    [tool.imbalance-doctor]
    ignore = ["IMB302"]
    [tool.imbalance-doctor.rules.IMB003]
    poor = 3
    """  # noqa: D301
    project = find_project()
    chosen = Choice(_codes(select), _codes(ignore)).over(project.choice).rules()
    catalogue = [
        {
            "code": rule.code,
            "name": rule.name,
            "severity": rule.severity,
            "losses": sorted(rule.kinds),
            "summary": _summary(type(rule)),
            "thresholds": thresholds_of(rule),
            "defaults": {each.name: each.default for each in rule.thresholds()},
            "reasons": {each.name: each.why for each in rule.thresholds()},
        }
        for rule in chosen
    ]
    if form == "json":
        from imbalance_doctor.render.json import plain

        click.echo(json.dumps(plain(catalogue), indent=2, allow_nan=False))
        return EXIT_OK
    from rich.padding import Padding
    from rich.text import Text

    for rule, entry in zip(chosen, catalogue, strict=True):
        _print(Text.assemble((f"{rule.code} {rule.name}", "bold"), f" ({rule.severity})"))
        _print(Padding(Text(str(entry["summary"])), (0, 0, 0, 4)))
        if thresholds := ", ".join(f"{name} = {value}" for name, value in thresholds_of(rule).items()):
            _print(Padding(Text(clean(thresholds), style="dim"), (0, 0, 0, 4)))
    for note in project.notes:
        _print(Text(clean(f"Note: {note}"), style="dim"))
    return EXIT_OK


@cli.command(context_settings=CONTEXT, short_help="Explain a rule.")
@click.argument("rule")
def explain(rule: str) -> int:
    """Explain a rule, by code (IMB401) or name (empty-band).

    Symptom, cause, remedy, evidence, limits, and its thresholds with the reason for each.
    """
    found = find_rule(rule)
    click.echo(f"{found.code} {found.name} ({found.severity})\n")
    click.echo(rule_page(found))
    return EXIT_OK


@cli.command(context_settings=CONTEXT, short_help="See two planted faults diagnosed, treated and cured.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-runs"),
    show_default=True,
    help="Where the runs, reports and TensorBoard files go.",
)
@click.option("--quick", is_flag=True, help="Shorter runs: the findings are the same, the metrics noisier.")
def demo(out: Path, quick: bool) -> int:
    """Train on rare digits with two planted faults; watch them diagnosed live, treated, and cured.

    Needs scikit-learn for its data: pip install "imbalance-doctor[demo]".
    """
    from imbalance_doctor.demo import run_demo

    return run_demo(out, quick=quick)


def _rates(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(
            f"--positive-rate: expected a number, or numbers with commas between; got {text!r}"
        ) from None


def _thresholds(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        rule, _, threshold = name.rpartition(".")
        if not (rule and threshold and value):
            raise click.UsageError(f"--threshold: expected RULE.NAME=VALUE, as IMB003.poor=3; got {text!r}")
        found.setdefault(rule, {})[threshold] = options.value_of(value)
    return found


def _codes(text: str | None) -> list[str] | None:
    return None if text is None else [code for code in text.replace(",", " ").split() if code]


def _exit_code(diagnosis: Diagnosis, fail_on: str) -> int:
    if diagnosis.failed:
        codes = ", ".join(rule.code for rule in diagnosis.failed)
        click.echo(
            f"imbalance-doctor: what these rules look for is not known, they failed: {codes}", err=True
        )
    if fail_on == "never":
        return EXIT_OK
    floor = next(severity for severity in SEVERITIES if severity == fail_on)
    if any(at_least(f.severity, floor) for f in diagnosis.open):
        return EXIT_FINDINGS
    return EXIT_USAGE if diagnosis.failed else EXIT_OK


def _summary(rule: type[Rule]) -> str:
    return rule_page(rule).split("\n\n")[0].replace("\n", " ")


def _print(renderable: Any) -> None:
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process with 1; `main` knows better

    PipedConsole().print(renderable)


def _say(message: str) -> None:
    """One line on stderr. Where nobody can hear it, the exit code has to do."""
    attempt(click.echo, clean(message), err=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code instead of ending the process."""
    _print_what_the_terminal_can()
    try:
        result = cli.main(
            args=None if argv is None else list(argv), prog_name="imbalance-doctor", standalone_mode=False
        )
        return result if isinstance(result, int) else EXIT_OK
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("imbalance-doctor: interrupted")
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        attempt(click.echo, error.format_message(), err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        hint = " (--help shows how)" if isinstance(error, click.UsageError) else ""
        _say(f"imbalance-doctor: {' '.join(error.format_message().split())}{hint}")
        return EXIT_USAGE
    except BrokenPipeError:  # the reader of our pipe has left, as `head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the interpreter ends
        return EXIT_OK
    except (LogError, ValueError, OSError, ModuleNotFoundError) as error:
        _say(f"imbalance-doctor: {' '.join(str(error).split())}")
        return EXIT_USAGE
    except Exception as error:  # a traceback would exit with 1, which means findings
        _say(f"imbalance-doctor: this is a bug: {described(error)}; IMBALANCE_DOCTOR_DEBUG=1 shows where")
        if os.environ.get("IMBALANCE_DOCTOR_DEBUG"):
            for line in shortened(traceback.format_exc(), MOST_TRACE).splitlines():
                _say(line)
        return EXIT_USAGE


def _print_what_the_terminal_can() -> None:
    """Texts hold τ and θ: where an encoding lacks them, a mark in their place beats a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            attempt(stream.reconfigure, errors="replace")  # one that is closed says so when it is written to


def entry_point() -> None:
    """What the console script calls."""
    sys.exit(main())

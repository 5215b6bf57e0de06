"""The command line: what it prints, what it exits with, and that it never shows a traceback."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from imbalance_doctor import Doctor, diagnose
from imbalance_doctor.cli import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, main
from losses import PAUCAtBudgetLoss, SmoothAPLoss
from tests.live.loop import train


@pytest.fixture(scope="module")
def sick_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("sick")
    loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
    with Doctor(run_dir, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=300)
    return run_dir


@pytest.fixture(scope="module")
def healthy_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("healthy")
    loss_fn = SmoothAPLoss(num_classes=1, queue_size=1024, temperature=0.1)
    with Doctor(run_dir, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=300, rate=0.1)
    return run_dir


def test_exit_codes(sick_run, healthy_run, capsys):
    assert main(["report", str(sick_run)]) == EXIT_FINDINGS == 1
    assert main(["report", str(sick_run), "--fail-on", "never"]) == EXIT_OK == 0
    assert main(["report", str(healthy_run)]) == EXIT_OK
    assert main(["report", str(sick_run), "--ignore", "IMB0,IMB2,IMB3,IMB4,IMB5,IMB7"]) == EXIT_OK
    assert capsys.readouterr().err == ""


def test_the_report_names_symptom_cause_remedy_and_evidence(sick_run, capsys):
    main(["report", str(sick_run)])
    out = capsys.readouterr().out
    for word in ("IMB401 empty-band", "symptom", "cause", "remedy", "evidence", "queue_size: 64 →"):
        assert word in out


def test_json_on_stdout_is_pure_and_is_the_diagnosis(sick_run, capsys):
    assert main(["report", str(sick_run), "--format", "json"]) == EXIT_FINDINGS
    found = json.loads(capsys.readouterr().out)
    assert [f["code"] for f in found["findings"]] == [f.code for f in diagnose(sick_run).findings]


def test_html_goes_beside_the_log_or_where_it_is_told(sick_run, tmp_path, capsys):
    main(["report", str(sick_run), "--format", "html"])
    assert (sick_run / "report.html").read_text().startswith("<!")
    main(["report", str(sick_run), "--format", "html", "-o", str(tmp_path / "deep" / "page.html")])
    assert (tmp_path / "deep" / "page.html").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert capsys.readouterr().out == ""


def test_output_goes_to_devices_and_pipes_as_they_are(sick_run, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True)
    main(["report", str(sick_run), "--format", "json", "-o", str(tmp_path / "pipe")])
    assert json.loads(reader.communicate()[0])
    capsys.readouterr()
    main(["report", str(sick_run), "--format", "json", "-o", "-"])
    assert json.loads(capsys.readouterr().out)


def test_a_report_never_goes_through_a_link(sick_run, tmp_path, capsys):
    shutil.copytree(sick_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.html"))
    (tmp_path / "precious").write_text("old")
    page = tmp_path / "run" / "report.html"
    page.symlink_to(tmp_path / "precious")
    main(["report", str(tmp_path / "run"), "--format", "html"])
    assert (tmp_path / "precious").read_text() == "old"
    assert not page.is_symlink()
    assert page.read_text().startswith("<!")
    page.unlink()
    os.mkfifo(page)  # where nobody asked for a pipe there is none to wait for
    main(["report", str(tmp_path / "run"), "--format", "html"])
    assert page.read_text().startswith("<!")
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize("path", ["x" * 300, "file/page.html"])
def test_a_report_that_cannot_be_written_is_one_line_on_stderr(sick_run, tmp_path, capsys, path):
    (tmp_path / "file").write_text("")
    assert main(["report", str(sick_run), "--format", "json", "-o", str(tmp_path / path)]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"{path}: cannot be written: " in captured.err
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or directory; give a run directory or a log file"),
        ("", "the file is empty"),
        ("dear diary\n", "not a run log"),
    ],
)
def test_what_cannot_be_read_is_one_line_on_stderr(tmp_path, capsys, content, message):
    path = tmp_path / "thing"
    if content is not None:
        path.write_text(content)
    assert main(["report", str(path)]) == EXIT_USAGE == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert str(path) in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "Missing argument 'RUN'"),
        (["report", ".", "--format", "pdf"], "'pdf' is not one of"),
        (["diagnose"], "No such command 'diagnose'"),
        (
            ["explain", "emptyband"],
            "expected the code or the name of a rule, got 'emptyband'; did you mean empty-band",
        ),
    ],
)
def test_wrong_usage_is_one_line_on_stderr(arguments, message, capsys):
    assert main(arguments) == EXIT_USAGE
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_selector_that_names_no_rule_is_an_error(sick_run, capsys):
    assert main(["report", str(sick_run), "--select", "IMB999"]) == EXIT_USAGE
    assert "got 'IMB999'; `imbalance-doctor rules` lists them" in capsys.readouterr().err


def test_rules_and_explain_teach(capsys):
    assert main(["rules"]) == EXIT_OK
    assert "IMB401 empty-band" in capsys.readouterr().out
    assert main(["rules", "--format", "json"]) == EXIT_OK
    keys = {"code", "name", "severity", "losses", "summary", "thresholds", "defaults", "reasons"}
    listed = {rule["code"]: rule for rule in json.loads(capsys.readouterr().out)}
    assert keys == set(listed["IMB401"])
    assert listed["IMB401"]["defaults"]["few"] == 10.0
    assert "32 % at 10" in listed["IMB401"]["reasons"]["few"]
    for name in ("IMB401", "imb401", "empty-band"):
        assert main(["explain", name]) == EXIT_OK
        out = capsys.readouterr().out
        sections = ("Symptom", "Cause", "Remedy", "Evidence", "Known problems", "References", "Thresholds")
        for section in sections:
            assert f"## {section}" in out
        assert "- `few` = 10: Negatives in the band" in out


def test_no_command_is_help_and_wrong_usage(capsys):
    assert main([]) == EXIT_USAGE
    assert "imbalance-doctor demo" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    for arguments in (["--help"], ["report", "--help"]):
        assert main(arguments) == EXIT_OK
        assert "imbalance-doctor report runs/fraud-01\n" in capsys.readouterr().out


def run_module(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "imbalance_doctor", *arguments], capture_output=True, text=True, **options
    )


@pytest.mark.slow
def test_a_pipe_gets_plain_text_and_a_reader_that_leaves_is_no_error(sick_run):
    piped = run_module("report", str(sick_run))
    assert "\x1b" not in piped.stdout
    gone = subprocess.run(
        f"{sys.executable} -m imbalance_doctor rules | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert gone.returncode == 0
    assert gone.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "ascii:strict"])
def test_a_terminal_without_greek_letters_is_no_error(sick_run, encoding):
    narrow = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    for arguments in (["report", str(sick_run)], ["report", str(sick_run), "--format", "markdown"]):
        done = subprocess.run(
            [sys.executable, "-m", "imbalance_doctor", *arguments], capture_output=True, env=narrow
        )
        assert done.returncode == EXIT_FINDINGS
        assert done.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "expected"), [("<&-", 1), (">&-", 2), ("2>&-", 1), (">&- 2>&-", 2)])
def test_a_stream_that_is_closed_is_no_traceback(sick_run, closed, expected):
    command = f"exec {sys.executable} -m imbalance_doctor report {sick_run} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode in (EXIT_FINDINGS, expected)


@pytest.mark.parametrize("out", [None, io.StringIO])
@pytest.mark.parametrize("err", [None, io.StringIO])
@pytest.mark.parametrize("command", ["report", "watch"])
def test_streams_that_are_not_there_or_closed_end_nothing_with_a_traceback(
    sick_run, monkeypatch, command, out, err
):
    for name, make in (("stdout", out), ("stderr", err)):
        stream = make and make()
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, name, stream)
    assert main([command, str(sick_run)]) in (EXIT_OK, EXIT_FINDINGS, EXIT_USAGE)


@pytest.mark.parametrize("debug", [False, True])
def test_a_message_of_megabytes_is_shortened(monkeypatch, capsys, debug):
    monkeypatch.setenv("IMBALANCE_DOCTOR_DEBUG", "1" if debug else "")

    def fail(*_):
        raise RuntimeError("\x1b[31m" + "x" * 10_000_000)

    monkeypatch.setattr("imbalance_doctor.cli.commands.report.load_run", fail)
    assert main(["report", "run"]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "this is a bug: RuntimeError: xxx" in told
    assert "IMBALANCE_DOCTOR_DEBUG" in told
    assert ("Traceback" in told) is debug
    assert len(told) < (60_000 if debug else 6_000)
    assert "\x1b" not in told


@pytest.mark.parametrize("where", ["follow", "find_project"])
def test_ctrl_c_ends_watch_as_it_should(monkeypatch, sick_run, where):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    place = {
        "follow": "imbalance_doctor.examine.follow.follow",
        "find_project": "imbalance_doctor.cli.commands.watch.find_project",
    }
    monkeypatch.setattr(place[where], interrupt)
    assert main(["watch", str(sick_run)]) == EXIT_OK
    monkeypatch.setattr("imbalance_doctor.cli.commands.report.load_run", interrupt)
    assert main(["report", str(sick_run)]) == 130


def _heed_ctrl_c():
    """What runs in the background of a shell is told to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
@pytest.mark.parametrize("on_terminal", [False, True])
@pytest.mark.parametrize("name", ["run[/b]", "\x1b[31mrun[lr=0.1]"])
def test_ctrl_c_while_waiting_for_a_log_is_0_and_the_name_is_shown(tmp_path, name, on_terminal):
    (tmp_path / "pyproject.toml").write_text("[tool.imbalance-doctor]")  # a pipe shows its note, then waits
    (tmp_path / name).parent.mkdir(exist_ok=True)
    ours, theirs = os.openpty() if on_terminal else (None, subprocess.PIPE)
    watching = subprocess.Popen(
        [sys.executable, "-m", "imbalance_doctor", "watch", str(tmp_path / name), "--interval", "0.1"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "200"},
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,
    )
    if on_terminal:
        os.close(theirs)
        shown = b""
        while b"..." not in shown:
            shown += os.read(ours, 10_000)
        assert name.rpartition("m")[2].encode() in shown.replace(b"\r\n", b"")
    else:
        assert b"Note: rules as chosen by" in watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=60)
    assert watching.returncode == EXIT_OK
    assert told == b""
    if on_terminal:
        os.close(ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["rules"], ["explain", "IMB003"], ["report", "RUN"]]
)
def test_what_needs_no_torch_starts_without_it(sick_run, tmp_path, arguments):
    (tmp_path / "torch.py").write_text("raise ImportError('torch was asked for')")
    given = [str(sick_run) if each == "RUN" else each for each in arguments]
    told = subprocess.run(
        [sys.executable, "-m", "imbalance_doctor", *given],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        cwd=tmp_path,
    )
    assert told.returncode in (EXIT_OK, EXIT_FINDINGS), told.stderr
    assert "torch was asked for" not in told.stderr

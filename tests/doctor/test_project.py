"""Rules and thresholds of a project, from its pyproject.toml."""

import json
import os

import pytest

from imbalance_doctor import Doctor, diagnose
from imbalance_doctor.cli import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, main
from imbalance_doctor.project import MOST_BYTES, Project, find_project
from imbalance_doctor.render.formats import FORMATS
from imbalance_doctor.rules.few_positives_in_pool import FewPositivesInPool
from imbalance_doctor.selection import Choice
from losses import SmoothAPLoss
from tests.doctor.loop import train

PREFLIGHT = ["preflight", "--loss", "smooth_ap", "--positive-rate", "0.006", "--batch-size", "64"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes the section into the pyproject.toml of a project, and works in a folder below it."""
    (tmp_path / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "src" / "deep")

    def write(text):
        (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "fraud"\n{text}')
        return tmp_path / "pyproject.toml"

    return write


def test_the_nearest_file_with_the_section_counts(project, tmp_path):
    assert find_project().choice == Choice()
    path = project(
        '[tool.imbalance-doctor]\nignore = ["IMB302"]\n'
        "[tool.imbalance-doctor.rules.few-positives-in-pool]\npoor = 3"
    )
    (tmp_path / "src" / "pyproject.toml").write_text("[tool.ruff]\nline-length = 110\n")
    found = find_project()
    assert found.path == path
    assert found.choice == Choice(None, ["IMB302"], {"IMB003": {"poor": 3}})


def test_what_is_stronger_wins_one_threshold_at_a_time():
    strong = Choice(["IMB0"], None, {"IMB003": {"few": 1.0}})
    weak = Choice(["IMB4"], ["IMB002"], {"IMB003": {"few": 2.0, "poor": 3.0}, "IMB401": {"few": 4.0}})
    assert strong.over(weak) == Choice(
        ["IMB0"], ["IMB002"], {"IMB003": {"few": 1.0, "poor": 3.0}, "IMB401": {"few": 4.0}}
    )
    assert Choice().over(weak) == weak


def codes(capsys):
    found = json.loads(capsys.readouterr().out)
    return [f["code"] for f in found["findings"]], found["notes"]


def test_preflight_uses_it_and_options_win(project, capsys):
    assert main([*PREFLIGHT, "--format", "json", "--fail-on", "info"]) == EXIT_FINDINGS
    assert codes(capsys) == (["IMB003"], [])
    path = project("[tool.imbalance-doctor.rules.IMB003]\nfew = 4")
    assert main([*PREFLIGHT, "--format", "json", "--fail-on", "info"]) == EXIT_OK
    assert codes(capsys) == ([], [f"rules as chosen by [tool.imbalance-doctor] of {path}"])
    project('[tool.imbalance-doctor]\nselect = ["IMB4"]')
    assert main([*PREFLIGHT, "--format", "json", "--fail-on", "info"]) == EXIT_OK
    assert main([*PREFLIGHT, "--select", "IMB0", "--fail-on", "info"]) == EXIT_FINDINGS


def test_the_catalogue_shows_it(project, capsys):
    project('[tool.imbalance-doctor]\nselect = ["IMB003"]\n[tool.imbalance-doctor.rules.IMB003]\npoor = 3')
    assert main(["rules", "--format", "json"]) == EXIT_OK
    [rule] = json.loads(capsys.readouterr().out)
    assert rule["thresholds"] == {"few": 10.0, "poor": 3, "wanted_positives": 20.0}
    assert main(["rules"]) == EXIT_OK
    assert "poor = 3" in capsys.readouterr().out


def test_a_report_asks_the_options_then_the_run_then_the_project(project, tmp_path, capsys):
    loss_fn = SmoothAPLoss(1, queue_size=64)  # some 6 positives: below `few`, not below `poor`
    for name, options in {
        "silent": {},
        "spoken": {"rules": [FewPositivesInPool(few=9)]},
        "picky": {"select": "IMB2"},
    }.items():
        with Doctor(tmp_path / name, on_finding="log", **options) as doctor:
            doctor.watch(loss_fn)
            train(doctor, loss_fn, steps=200)

    def found(name, *options):
        main(["report", str(tmp_path / name), "--format", "json", "--fail-on", "never", *options])
        return "IMB003" in codes(capsys)[0]

    assert found("silent")
    project("[tool.imbalance-doctor.rules.IMB003]\nfew = 3")
    assert not found("silent")  # the run said nothing
    assert found("spoken")  # the run said 9
    project('[tool.imbalance-doctor]\nselect = ["IMB0"]')
    assert not found("picky")
    assert found("picky", "--select", "IMB003")
    assert "IMB003" not in {
        f.code for f in diagnose(tmp_path / "picky").findings
    }  # only the command line asks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.imbalance-doctor", "this is no TOML"),
        ("[tool]\nimbalance-doctor = 3", "tool.imbalance-doctor: expected a table; got 3"),
        (
            '[tool.imbalance-doctor]\nselct = "x"',
            "tool.imbalance-doctor.selct: is not known; expected one of select",
        ),
        (
            '[tool.imbalance-doctor]\nselect = "IMB4"',
            "tool.imbalance-doctor.select: expected a list of texts, as [\"IMB4\"]; got 'IMB4'",
        ),
        (
            '[tool.imbalance-doctor]\nignore = ["IMB999"]',
            "tool.imbalance-doctor.ignore: 'IMB999' selects no rule",
        ),
        (
            "[tool.imbalance-doctor.rules.IMB999]\nfew = 1",
            "tool.imbalance-doctor.rules.IMB999: no rule is called 'IMB999'",
        ),
        (
            "[tool.imbalance-doctor.rules]\nIMB401 = 20",
            "tool.imbalance-doctor.rules.IMB401: expected a table; got 20",
        ),
        (
            "[tool.imbalance-doctor.rules.IMB401]\nnegatives = 20",
            "expected a threshold of IMB401 to be one of few, empty, wanted_negatives, live, wanted_live; ",
        ),
        ('[tool.imbalance-doctor.rules.IMB401]\nfew = "20"', "expected few to be a number; got '20'"),
        ("[tool.imbalance-doctor.rules.IMB401]\nfew = true", "expected few to be a number; got True"),
        (
            "[tool.imbalance-doctor.rules.IMB506]\nrecords = 1.5",
            "expected records to be a whole number; got 1.5",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(project, capsys, text, message):
    path = project(text)
    for command in (PREFLIGHT, ["rules"]):
        assert main(command) == EXIT_USAGE
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert str(path) in captured.err
        assert message in captured.err


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1" + 400 * "0"])
def test_a_threshold_is_a_number_that_others_can_be_compared_with(project, value, capsys):
    project(f"[tool.imbalance-doctor.rules.IMB003]\nfew = {value}")
    assert main(["rules"]) == EXIT_USAGE
    assert "expected few to be a number" in capsys.readouterr().err


SILENCED = '[tool.imbalance-doctor]\nignore = ["IMB"]'


def test_what_another_user_owns_is_passed_over(tmp_path, monkeypatch, capsys):
    (tmp_path / "theirs" / "mine" / "deep").mkdir(parents=True)
    theirs, mine = tmp_path / "theirs" / "pyproject.toml", tmp_path / "theirs" / "mine" / "pyproject.toml"
    theirs.write_text(SILENCED)
    monkeypatch.setattr("imbalance_doctor.project.os.fstat", _owned_by_another_below(tmp_path / "theirs"))
    monkeypatch.chdir(tmp_path / "theirs" / "mine" / "deep")
    found = find_project()
    assert found.choice == Choice()
    assert found.notes == (f"{theirs} was passed over: it belongs to another user",)
    main([*PREFLIGHT, "--format", "json", "--fail-on", "never"])
    assert codes(capsys) == (["IMB003"], [*found.notes])
    mine.write_text("[tool.imbalance-doctor]\nignore = ['IMB302']")
    assert find_project().path == mine


def _owned_by_another_below(folder):
    """What `os.fstat` says where a file directly in a folder belongs to somebody else."""
    there, fstat = folder / "pyproject.toml", os.fstat

    def looked_at(descriptor):
        found = fstat(descriptor)
        if there.exists() and os.path.samestat(found, there.stat()):
            return os.stat_result((*found[:4], 12345, *found[5:]))
        return found

    return looked_at


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("link", [False, True])
def test_who_owns_a_link_says_what_is_read(tmp_path, link):
    path = tmp_path / "pyproject.toml"
    if link:
        (tmp_path / "mine.toml").write_text(SILENCED)
        path.symlink_to("mine.toml")
    else:
        path.write_text(SILENCED)
    os.chown(path, 12345, 12345, follow_symlinks=False)
    assert find_project(tmp_path).choice == Choice()


def test_a_file_without_the_section_that_is_no_toml_is_a_note(project, capsys):
    path = project("this is [no toml")
    [note] = find_project().notes
    assert note.startswith(f"{path} was passed over: this is no TOML: ")
    assert main(["rules"]) == EXIT_OK
    assert "Note: " in capsys.readouterr().out


def _folder(path):
    path.mkdir()


def _pipe(path):
    os.mkfifo(path)


def _loop(path):
    path.symlink_to(path.name)


def _megabytes(path):
    path.write_bytes(b"#" * (MOST_BYTES + 1))


def _bytes(path):
    path.write_bytes(b"\xff\xfe\x00")


def _nested(path):
    path.write_text("x = " + "[" * 50_000)


@pytest.mark.parametrize("make", [_folder, _pipe, _loop, _megabytes, _bytes, _nested])
def test_whatever_is_called_so_is_a_note_and_does_not_hang(tmp_path, make):
    make(tmp_path / "pyproject.toml")
    found = find_project(tmp_path)
    assert found.choice == Choice()
    assert f"{tmp_path / 'pyproject.toml'} was passed over: " in found.notes[0]


def test_a_working_directory_that_is_gone_is_a_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the working directory is gone" in find_project().notes[0]
    assert main([*PREFLIGHT, "--fail-on", "never"]) == EXIT_OK


def test_the_search_ends_at_the_top_of_a_checkout_and_at_home(tmp_path, monkeypatch):
    (tmp_path / "home" / "code" / "deep").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(SILENCED)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_project(tmp_path / "home" / "code" / "deep") == Project()
    home = tmp_path / "home" / "pyproject.toml"
    home.write_text(SILENCED)
    assert find_project(tmp_path / "home" / "code" / "deep").path == home
    (tmp_path / "home" / "code" / ".git").mkdir()
    assert find_project(tmp_path / "home" / "code" / "deep") == Project()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_a_report_names_the_file(project, tmp_path, form, capsys):
    path = project(SILENCED)
    with Doctor(tmp_path / "run", on_finding="log") as doctor:
        loss_fn = SmoothAPLoss(1, queue_size=64)
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=20)
    assert main(["report", str(tmp_path / "run"), "--format", form, "-o", "-"]) == EXIT_OK
    told = capsys.readouterr().out
    assert path.name in told
    assert "rules as chosen by" in told.replace("\n", " ")

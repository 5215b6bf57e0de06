"""Rules and thresholds of a project, from its pyproject.toml."""

import json

import pytest

from imbalance_doctor import Doctor, diagnose
from imbalance_doctor.cli import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, main
from imbalance_doctor.project import find_project
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
            "IMB401 empty-band has no threshold 'negatives'; it has few, empty",
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

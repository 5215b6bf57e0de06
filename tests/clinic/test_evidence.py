"""The tables in the rules' pages are what the experiments of tests/clinic/evidence last wrote."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from imbalance_doctor.rules import rule_types
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.__main__ import main, select
from tests.clinic.evidence.experiment import code_of, experiment, names
from tests.clinic.evidence.results import FOLDER, ORIGIN, read, tables
from tests.clinic.evidence.table import Table, each, mean, number, over, spread

PAGES = {rule.code: inspect.getdoc(rule) or "" for rule in rule_types()}
CODES = sorted({code for code, page in PAGES.items() if tables(page)} | set(map(code_of, names())))


@pytest.mark.parametrize("code", CODES)
def test_each_table_of_a_page_is_what_its_script_last_wrote_and_the_other_way_round(code: str) -> None:
    kept = {name: read(name)[1] for name in names() if code_of(name) == code}
    assert sorted(tables(PAGES[code])) == sorted(kept.values()), (
        f"expected the tables in the docstring of {code} to be those of {sorted(kept)}: "
        "copy what the script last wrote into the page and read the sentences around it again, "
        "or write the script that makes the table"
    )


@pytest.mark.parametrize("name", names())
def test_a_kept_table_says_how_it_was_made(name: str) -> None:
    origin = ORIGIN.fullmatch(read(name)[0])
    assert origin is not None
    assert origin["name"] == name
    assert int(origin["seeds"]) == experiment(name).seeds
    assert origin["cut"] is None  # a try with few steps is no evidence


def test_nothing_is_kept_without_its_script() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == names()


@pytest.mark.parametrize("name", names())
def test_a_script_says_what_it_is_about_and_plans_runs(name: str) -> None:
    script = experiment(name)
    assert script.about
    assert all(isinstance(run, ClinicRun) for run in script.runs(0).values())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_experiment_runs_from_the_command_to_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["imb404_numerator", "--steps", "2", "--seeds", "1", "--out", str(tmp_path)])
    written = (tmp_path / "imb404_numerator.md").read_text(encoding="utf-8")
    assert "imb404_numerator --seeds 1 --steps 2; torch" in written
    (table,) = tables(written)
    assert table in capsys.readouterr().out
    header, _, *rows = table.splitlines()
    assert header == tables(PAGES["IMB404"])[1].splitlines()[0]
    assert len(rows) == 2


def test_what_is_chosen_are_codes_in_any_case_or_names() -> None:
    assert select(["imb106"]) == select(["IMB106"]) == ["imb106_alpha", "imb106_pos_weight"]
    assert select(["imb106_alpha"]) == ["imb106_alpha"]
    assert select([]) == names()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IMB999"], "expected codes or names that --list shows, got IMB999"),
        (["--steps", "5"], "expected --out with --steps"),
    ],
)
def test_wrong_usage_says_what_to_do(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_list_names_every_script_and_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names()


def test_numbers_and_tables_read_as_in_the_pages() -> None:
    cell = [{"average_precision": 0.5, "auroc": 1.0}, {"average_precision": 0.7, "auroc": 1.0}]
    assert (mean(cell), spread(cell), each(cell)) == (".60", ".60 ± .10", ".50 .70")
    assert (number(1.0), mean(cell, "auroc")) == ("1.00", "1.00")
    cells = {("a", "digits"): cell, ("a", "gaussian"): cell}
    assert over(cells, ("a",), ("gaussian", "digits")) == ".60 / .60"
    assert over(cells, ("b",), ("gaussian", "digits")) == ""
    assert Table(("", "AP"), [("a", "")]).markdown() == "| | AP |\n|---|---|\n| a | |"


def test_the_tables_of_a_page_are_found_between_its_sentences() -> None:
    assert tables("Text.\n\n| a |\n|---|\n| 1 |\n\nMore.\n\n| b |\n|---|\n") == [
        "| a |\n|---|\n| 1 |",
        "| b |\n|---|",
    ]

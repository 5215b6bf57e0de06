"""Pages that follow from the code say what the code says."""

import importlib.util
from pathlib import Path

import pytest

from tests.clinic.__main__ import main as clinic

DOCS = Path(__file__).parent.parent / "docs"
spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == generate.PAGES[name](), "run `make docs`"


def test_a_page_that_is_measured_is_named_to_be_written(capsys):
    assert {path.stem for path in DOCS.glob("*.md")} >= {Path(name).stem for name in generate.MEASURED}
    with pytest.raises(SystemExit):
        generate.main(["clinics"])
    assert "expected a page to be one of clinic, " in capsys.readouterr().err


def test_a_part_of_the_clinic_does_not_overwrite_its_page(capsys):
    with pytest.raises(SystemExit):
        clinic(["--codes", "IMB406", "--out", str(DOCS / "clinic.md")])
    assert "expected every code for the published page, got IMB406" in capsys.readouterr().err

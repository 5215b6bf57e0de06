"""Every recipe of CONTRIBUTING.md is followed in a copy of the project, and needs no other place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("losses", "imbalance_doctor", "tests", "docs", "benchmarks")
BLOCK = re.compile(r"^```python (\S+)(?: in (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Where a list or a table of this name begins.
BEGINS = {"homes": r"exports\(\n    __name__,\n    \{\n"}

#: A short run in `folder` of a loss of `losses`; what is printed last is what a check looks at.
RUN = """
import torch
from imbalance_doctor import Doctor, diagnose, load_run
from imbalance_doctor.render.page.html import page_data
from losses import *
def train(folder, loss_fn, labels=2, positives=2, **options):
    torch.manual_seed(0)
    with Doctor(folder, every=1, on_finding="log", **options) as doctor:
        doctor.watch(loss_fn)
        for step in range(12):
            logits = torch.randn(32, labels, requires_grad=True)
            targets = (torch.arange(32) % positives > 0).long()
            loss_fn(logits, targets[:, None].float() if labels == 1 else targets).backward()
            doctor.step()
    run = load_run(folder)
    return run, diagnose(run), page_data(diagnose(run), run)
"""


def recipes() -> dict[str, list[tuple[str, str, str]]]:
    """Path, name of the list or table, and text of the blocks of each recipe."""
    _, *sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {section.splitlines()[0]: BLOCK.findall(section) for section in sections}
    return {title: blocks for title, blocks in found.items() if blocks}


def _put(copy: Path, path: str, name: str, text: str) -> None:
    file = copy / path
    if name:
        source = file.read_text(encoding="utf-8")
        begin = BEGINS.get(name, rf"^ *{name}\b[^\n]*[\[({{]\n")
        place = re.search(begin, source, re.MULTILINE)
        assert place, f"{path} has no {name}"
        file.write_text(source[: place.end()] + text + source[place.end() :], encoding="utf-8")
    elif file.exists():
        file.write_text(file.read_text(encoding="utf-8") + "\n" + text, encoding="utf-8")
    else:
        assert file.parent.exists(), f"{path}: its folder is not there"
        file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which every recipe was followed."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.svg"))
    for file in ("pyproject.toml", "CONTRIBUTING.md", "README.md", "Makefile", "CHANGELOG.md"):
        shutil.copy(ROOT / file, copy)
    for blocks in recipes().values():
        for block in blocks:
            _put(copy, *block)
    shutil.copytree(ROOT / "notebooks", copy / "notebooks")
    python(copy, "docs/generate.py")
    return copy


def python(copy: Path, *arguments: str) -> str:
    """What Python prints in the copy."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_there_is_a_recipe_for_everything_that_is_added() -> None:
    assert list(recipes()) == [
        "A rule",
        "A statistic",
        "A loss",
        "A report format",
        "A panel",
        "A command",
        "A sink",
        "A framework callback",
        "A foreign log",
    ]


def test_a_rule_takes_two_places() -> None:
    assert [path for path, *_ in recipes()["A rule"]] == [
        "imbalance_doctor/rules/pool/crowded_pool.py",
        "tests/rules/cases/crowded_pool.py",
    ]


def test_what_was_added_passes_the_tests_that_look_at_all_of_a_kind(copy: Path) -> None:
    told = python(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not browser",
        "-k", "IMB299 or architecture or docs or kinds or test_page or panels or catalogue",
        "tests/rules", "tests/test_architecture.py", "tests/test_docs.py", "tests/losses/test_kinds.py",
        "tests/clinic/test_page.py", "tests/render/test_panels.py", "tests/test_statistics.py",
    )  # fmt: skip
    assert "IMB299" not in told  # a skipped test is told with its name
    assert " passed" in told


def trained(copy: Path, *lines: str) -> str:
    """The last line that these lines print after the definition of `train`."""
    return python(copy, "-c", "\n".join([RUN, *lines])).splitlines()[-1]


def test_a_rule_speaks_and_is_listed_as_not_yet_measured(copy: Path) -> None:
    assert "IMB299 crowded-pool" in python(copy, "-m", "imbalance_doctor", "rules")
    assert "With more of them, negatives" in python(copy, "-m", "imbalance_doctor", "explain", "IMB299")
    page = (copy / "docs" / "rules.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## IMB299.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert "Not yet measured" in section
    told = trained(
        copy,
        "run, diagnosis, page = train('sick', SmoothAPLoss(2, queue_size=0), positives=8)",
        "print([finding.code for finding in diagnosis.findings])",
    )
    assert "IMB299" in told


def test_a_statistic_is_recorded_documented_and_drawn(copy: Path) -> None:
    assert "| `pool_share` |" in (copy / "docs" / "statistics.md").read_text(encoding="utf-8")
    told = trained(
        copy,
        "run, diagnosis, page = train('stat', SmoothAPLoss(2))",
        "print('pool_share' in run.stats, 'pool_share' in str(page))",
    )
    assert told == "True True"


def test_a_loss_is_watched_and_examined_before_a_run(copy: Path) -> None:
    told = trained(
        copy,
        "run, diagnosis, page = train('brier', BrierLoss(), labels=1)",
        "print(run.losses['brier'].setting('reduction'), 'mean_p_true_pos' in run.stats)",
    )
    assert told == "mean True"
    judged = ("--loss", "brier", "--positive-rate", "0.1", "--batch-size", "64", "--fail-on", "never")
    assert "brier" in python(copy, "-m", "imbalance_doctor", "preflight", *judged, "--format", "json")


def test_a_format_is_that_of_reports_and_preflights(copy: Path) -> None:
    judged = ("--loss", "smooth_ap", "--positive-rate", "0.0002", "--batch-size", "64", "--fail-on", "never")
    assert "IMB002\n" in python(copy, "-m", "imbalance_doctor", "preflight", *judged, "--format", "codes")


def test_a_panel_is_on_the_page(copy: Path) -> None:
    told = trained(
        copy,
        "run, diagnosis, page = train('panel', SmoothAPLoss(2))",
        "print([panel['title'] for panel in page['panels']])",
    )
    assert "Spread of the scores" in told


def test_a_command_is_listed_and_runs(copy: Path) -> None:
    assert "List the losses of a run." in python(copy, "-m", "imbalance_doctor", "--help")
    trained(copy, "print(len(train('listed', SmoothAPLoss(2))))")
    assert "smooth_ap: smooth_ap\n" in python(copy, "-m", "imbalance_doctor", "losses", "listed")


def test_a_sink_hears_of_a_run(copy: Path) -> None:
    sinks = "from printing_sink import PrintingSink\ntrain('sunk', SmoothAPLoss(2), sinks=[PrintingSink()])"
    told = python(copy, "-c", f"{RUN}\n{sinks}").splitlines()
    assert told[0] == "begin at step 0"
    assert sum(line.startswith("loss ") for line in told) == 12
    assert told[-1] == "closed"


def test_a_callback_watches_the_losses_of_a_model(copy: Path) -> None:
    told = trained(
        copy,
        "from imbalance_doctor.integrations.tiny import DoctorCallback",
        "model = torch.nn.Sequential(torch.nn.Linear(2, 1))",
        "model.loss_fn = SmoothAPLoss(1)",
        "callback = DoctorCallback('tiny', every=1)",
        "callback.on_start(model)",
        "for _ in range(3):",
        "    model.loss_fn(model[0](torch.randn(8, 2)), torch.arange(8) % 2).backward()",
        "    callback.on_step()",
        "callback.on_end()",
        "print(len(load_run('tiny').steps()))",
    )
    assert told == "3"


def test_a_foreign_log_is_read_as_a_run(copy: Path) -> None:
    (copy / "train.losses").write_text("1.0\n0.5\nnan\n")
    told = python(copy, "-m", "imbalance_doctor", "report", "train.losses", "--fail-on", "never")
    assert "IMB001" in told or "loss" in told

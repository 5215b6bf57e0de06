"""The catalogues of statistics are the authority: a new statistic is an entry there and its computation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imbalance_doctor import statistics
from imbalance_doctor.scores import metrics
from imbalance_doctor.statistics import STATISTICS
from losses.catalogue import CATALOGUE

ROOT = Path(__file__).parent.parent

#: All that a toy takes: an entry in a catalogue, and the place that computes it.
ENTRIES = {
    "losses/catalogue.py": (
        "CATALOGUE: tuple[Stat, ...] = (\n",
        'Stat("toy_mean", "class", "toys", "Mean of the toys.", panel="scores"),\n'
        'Stat("toy_quantiles", "class x quantile", "toys", "Quantiles of the toys.", panel="schedule"),\n',
    ),
    "losses/diagnostics/scores.py": (
        "    stats: Stats = {\n",
        '        "toy_mean": per_class + 1,\n'
        '        "toy_quantiles": per_class[:, None] + torch.arange(9.0),\n',
    ),
    "imbalance_doctor/scores/metrics.py": (
        "    for metric in (\n",
        '        _metric("toy_share", "share, 0-1", "Share of toys."),\n',
    ),
}
COMPUTED = ("imbalance_doctor/scores/metrics.py", "    result.update(\n", "        toy_share=0.5,\n")

TRAINING = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, "docs")
import generate
from imbalance_doctor import Doctor, diagnose, load_run
from imbalance_doctor.render.page.html import page_data
from losses import SmoothAPLoss
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
loss_fn = SmoothAPLoss(2)
with Doctor("run", every=1, tensorboard=True, on_finding="log") as doctor:
    doctor.watch(loss_fn)
    for step in range(3):
        logits = torch.randn(16, 2, requires_grad=True)
        loss_fn(logits, torch.arange(16) % 2).backward()
        doctor.step()
    doctor.log_eval(logits.detach(), torch.arange(16) % 2)
run = load_run("run")
data = page_data(diagnose(run), run)
events = EventAccumulator("run")
events.Reload()
print(json.dumps({
    "docs": generate.statistics_page(),
    "log": sorted({name for record in run.steps() for name in record.stats}),
    "columns": [*run.stats.columns, *run.evals.columns],
    "rows": {panel["id"]: panel["rows"] for panel in data["panels"]},
    "lines": sorted(key for lines in data["losses"][0]["lines"].values() for key in lines),
    "absent": data["losses"][0]["absent"],
    "tags": events.Tags()["scalars"],
}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Where toy statistics are seen in a run of a copy of the packages that knows them."""
    copy = tmp_path_factory.mktemp("copy")
    for package in ("losses", "imbalance_doctor"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "generate.py", copy / "docs")
    edits = [(name, *edit) for name, edit in ENTRIES.items()]
    for name, place, addition in (*edits, COMPUTED):
        source = (copy / name).read_text(encoding="utf-8")
        assert place in source
        (copy / name).write_text(source.replace(place, place + addition, 1), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", TRAINING],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_new_statistic_is_logged_and_read(shown):
    assert {"toy_mean", "toy_quantiles"} <= {*shown["log"]}
    assert {"toy_mean", "toy_share"} <= {*shown["columns"]}


@pytest.mark.slow
def test_a_new_statistic_is_documented(shown):
    assert "| `toy_mean` | class | toys | counts | scores | Mean of the toys. |" in shown["docs"]
    assert "| `toy_share` | share, 0-1 | Share of toys. |" in shown["docs"]


@pytest.mark.slow
def test_a_new_statistic_is_in_its_panel(shown):
    [mean] = shown["rows"]["scores"]
    assert (mean["y"], mean["lines"][0]["key"]) == ("toy mean (toys)", "toy_mean")
    [quantiles] = shown["rows"]["schedule"]
    assert quantiles["lines"][0]["band"] == ["toy_quantiles.q5", "toy_quantiles.q95"]
    assert [line["key"] for line in shown["rows"]["validation"][-1]["lines"]] == ["toy_share"]
    assert {"toy_mean", "toy_quantiles.q50", "toy_quantiles.q95", "toy_share"} <= {*shown["lines"]}
    assert not {"scores", "schedule"} & shown["absent"].keys()


@pytest.mark.slow
def test_a_new_statistic_is_in_tensorboard(shown):
    tags = {
        "smooth_ap 3 scores/toy_mean, class 0",
        "smooth_ap 7 schedule/toy_quantiles.q50, class 1",
        "validation/toy_share, class 1",
    }
    assert tags <= {*shown["tags"]}


def test_a_statistic_is_in_one_catalogue():
    assert len(STATISTICS) == len(CATALOGUE) + len(statistics.CATALOGUE)


def test_statistics_have_a_unit_and_a_sentence():
    for stat in (*STATISTICS.values(), *metrics.CATALOGUE.values()):
        assert stat.unit, stat.name
        assert stat.meaning.endswith("."), stat.name

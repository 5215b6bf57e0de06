"""The recipes of docs/integrations.md, run as they are printed."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from imbalance_doctor import Doctor, load_run
from tests.integrations.rare import fitting, loader, rows, small_mlp

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/integrations.md").read_text(encoding="utf-8")


def recipe(heading):
    """The code under a heading."""
    section = re.split(rf"^##+ {heading}$", PAGE, flags=re.MULTILINE)[1]
    return re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)[1]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the recipes take for granted."""
    monkeypatch.chdir(tmp_path)
    model = small_mlp()
    return {
        "torch": torch,
        "Doctor": Doctor,
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters()),
        "loss_fn": fitting(),
        "loader": loader(24),
        "val_loader": DataLoader(rows(300, rate=0.1, seed=1), batch_size=64),
        "device": "cpu",
        "checkpoint": tmp_path / "checkpoint.pt",
    }


def follow(heading, names):
    exec(compile(recipe(heading), f"docs/integrations.md: {heading}", "exec"), names)


def steps_and_evals(run_dir):
    run = load_run(run_dir)
    return [r.step for r in run.steps()], [(r.step, int(r.metrics["rows"][0])) for r in run.evaluations]


def test_lightning(names):
    pytest.importorskip("lightning")
    follow("Lightning", names)
    assert steps_and_evals("runs/fraud-01") == ([0, 10, 20, 30, 40], [(23, 300), (47, 300)])


def test_transformers(names, tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    from tests.integrations.test_transformers import Digits, tiny_model

    digits = {"train_dataset": Digits(5), "eval_dataset": Digits(5, rate=0.1, seed=1)}
    follow("Hugging Face Trainer", names | digits | {"model": tiny_model(), "output_dir": str(tmp_path)})
    assert steps_and_evals("runs/fraud-02") == ([1, 11, 21, 31], [(20, 320), (40, 320)])


def test_accelerate(names):
    pytest.importorskip("accelerate")
    follow("Accelerate", names)
    assert steps_and_evals("runs/fraud-03") == ([0, 10], [(5, 300), (11, 300)])
    # A second process that loads the first epoch's state goes on from there.
    load = "    accelerator.load_state('checkpoints/epoch-0')\n"
    again = recipe("Accelerate").replace("    for epoch", f"{load}    for epoch", 1)
    model, loss_fn = small_mlp(), fitting()
    optimizer = torch.optim.Adam(model.parameters())
    exec(again, names | {"model": model, "optimizer": optimizer, "loss_fn": loss_fn, "loader": loader(24)})
    assert steps_and_evals("runs/fraud-03") == ([0, 6, 16], [(5, 300), (11, 300), (17, 300)])


@pytest.mark.parametrize(
    ("heading", "run_dir", "expected"),
    [
        ("Gradient accumulation", "runs/accumulated", [0]),
        ("Mixed precision", "runs/amp", [0, 10, 20]),
    ],
)
def test_own_loops(names, heading, run_dir, expected):
    follow(heading, names)
    assert steps_and_evals(run_dir) == (expected, [])
    assert load_run(run_dir).stats["lr"].tolist() == pytest.approx([1e-3] * len(expected))


def test_validation_and_resuming(names):
    follow("Validation and resuming", names)
    follow("Validation and resuming", names | {"loss_fn": fitting()})
    steps, evals = steps_and_evals("runs/resumed")
    assert steps == [0, 10, 20, 30, 40, 48, 58, 68, 78, 88]
    assert [step for step, _ in evals] == [23, 47, 71, 95]


@pytest.mark.slow
def test_distributed_data_parallel(tmp_path, launch):
    script = (
        "import torch\nfrom imbalance_doctor import Doctor\n"
        "from tests.integrations.rare import fitting, loader, small_mlp\n"
        "model, loss_fn, loader = small_mlp(), fitting(), loader(12)\n"
        "optimizer = torch.optim.Adam(model.parameters())\n" + recipe("DistributedDataParallel")
    )
    launch(script, processes=2)
    for rank in (0, 1):
        assert steps_and_evals(tmp_path / f"runs/ddp/diagnostics-rank{rank}.jsonl")[0] == [0, 10]

"""Two real trainings, one binary and one of many classes, as every renderer's material."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from imbalance_doctor.examine.diagnose import diagnose
from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.log.run import Run
from losses.ranking.partial_auc import PAUCAtBudgetLoss
from losses.ranking.recall_at_quantile import RecallAtQuantileLoss

#: A name that no renderer may take for markup of its own.
HOSTILE = "[bold]fraud[/bold] <script>document.title='taken'</script> \x1b[31m"

CLASSES = 100


class Case(NamedTuple):
    run: Run
    diagnosis: Diagnosis


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two losses on rare positives; the queue is too small at first and is then treated."""
    torch.manual_seed(0)

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        labels = (torch.rand(rows) < 0.02).long()
        return torch.randn(rows, 8) + labels[:, None], labels

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    ranking, plain = PAUCAtBudgetLoss(1, queue_size=64), nn.BCEWithLogitsLoss()
    path = tmp_path_factory.mktemp("runs") / "binary"
    with Doctor(path, every=2, class_names=["ok", HOSTILE], on_finding=lambda finding: None) as doctor:
        doctor.watch(ranking)
        doctor.watch(plain, name="bce")
        for index in range(120):
            x, y = draw(128)
            logits = model(x)
            loss = ranking(logits, y) + plain(logits.squeeze(1), y.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            doctor.step(learning_rate=1e-2)
            if index % 30 == 29:
                x, y = draw(2000)
                doctor.log_eval(model(x).detach(), y)
            if index == 80:
                treatable = [f for f in doctor.findings if f.prescription and f.status == "open"]
                doctor.treat(treatable[0])
    return _case(path)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A hundred classes with a long tail."""
    torch.manual_seed(0)
    centres = torch.randn(CLASSES, 16) * 1.5
    shares = 1 / torch.arange(1, CLASSES + 1).float()
    model = nn.Linear(16, CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    loss_fn = RecallAtQuantileLoss(CLASSES, quantile=0.05, queue_size=64)
    path = tmp_path_factory.mktemp("runs") / "many"
    names = [f"species {index}" for index in range(CLASSES)]
    with Doctor(path, every=2, class_names=names, on_finding=lambda finding: None) as doctor:
        doctor.watch(loss_fn)
        for index in range(30):
            y = torch.multinomial(shares, 64, replacement=True)
            logits = model(centres[y] + torch.randn(64, 16))
            loss = loss_fn(logits, y) + nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            doctor.step()
            if index % 10 == 9:
                doctor.log_eval(logits.detach(), y)
    return _case(path)


def _case(path: Path) -> Case:
    run = load_run(path)
    return Case(run, diagnose(run))


ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """A headless browser that outlives the tests of a session."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()

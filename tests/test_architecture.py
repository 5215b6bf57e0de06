"""Imports point one way, and the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: What each part of imbalance_doctor may import from it. Order is the direction of the data.
MAY_IMPORT = {
    "records": set(),
    "texts": set(),
    "plain": set(),
    "guard": {"findings", "texts"},
    "loss_info": {"records", "texts", "guard"},
    "own_gradient": set(),
    "plain_losses": set(),
    "prescriptions": {"plain"},
    "findings": {"plain", "prescriptions", "render", "texts"},  # inside methods, when a diagnosis is shown
    "metrics": {"records"},
    "history": {"plain", "records", "texts"},
    "rules": {"findings", "history", "prescriptions", "records", "rules"},
    "admission": {"findings", "guard", "history", "plain", "prescriptions", "rules"},
    "checkup": {"admission", "findings", "history", "records", "plain", "rules", "texts", "guard"},
    "tuning": {"plain", "rules"},
    "selection": {"admission", "plain", "rules", "tuning"},
    "files": set(),
    "project": {"findings", "rules", "selection", "texts", "tuning", "guard"},
    "runlog": {"exclusive", "findings", "records", "texts", "guard"},
    "ranks": {"records", "texts"},
    "exclusive": set(),
    "schedule": {"checkup"},
    "run": {"findings", "ranks", "records", "runlog", "texts", "guard"},
    "diagnose": {
        "admission",
        "checkup",
        "findings",
        "records",
        "rules",
        "run",
        "selection",
        "texts",
        "tuning",
        "guard",
    },
    "follow": {"diagnose", "findings", "records", "run", "runlog", "selection", "texts", "guard"},
    "preflight": {
        "admission",
        "guard",
        "checkup",
        "findings",
        "history",
        "metrics",
        "prescriptions",
        "recorder",
        "records",
        "rules",
        "selection",
        "tuning",
    },
    "render": {"findings", "history", "metrics", "prescriptions", "records", "run", "render", "texts"},
    "integrations": {"boundary", "doctor", "evaluation", "findings", "guard"},
}
HEAVY = {"pandas", "plotly", "rich", "tensorboard"}
FRAMEWORKS = {"accelerate", "lightning", "pytorch_lightning", "transformers"}


def imports_of(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def absolute_imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    relative = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level}
    return imports_of(path) - relative


def parts() -> list[tuple[str, Path]]:
    root = ROOT / "imbalance_doctor"
    return [(path.relative_to(root).parts[0].removesuffix(".py"), path) for path in root.rglob("*.py")]


@pytest.mark.parametrize(("part", "path"), parts(), ids=lambda value: getattr(value, "stem", value))
def test_imports_point_one_way(part, path):
    if part not in MAY_IMPORT:
        return
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("imbalance_doctor.")}
    # `imbalance_doctor.losses` is the other package by its second name, and below everything here.
    assert ours - {part, "losses"} <= MAY_IMPORT[part]


def test_losses_know_nothing_of_the_doctor():
    for path in (ROOT / "losses").rglob("*.py"):
        assert not any(name.startswith("imbalance_doctor") for name in imports_of(path)), path


@pytest.mark.parametrize("package", ["losses", "imbalance_doctor"])
def test_nothing_asks_for_the_losses_by_a_name_that_a_file_of_the_users_can_hide(package):
    for path in (ROOT / package).rglob("*.py"):
        if path != ROOT / "imbalance_doctor" / "losses.py":
            assert not {name for name in absolute_imports(path) if name.split(".")[0] == "losses"}, path


def test_frameworks_are_known_to_the_integrations_alone_and_those_to_nobody():
    ours = [(path, "losses") for path in (ROOT / "losses").rglob("*.py")]
    for path, part in [*ours, *((path, part) for part, path in parts())]:
        if part != "integrations":
            names = imports_of(path)
            assert not {name.split(".")[0] for name in names} & FRAMEWORKS, path
            assert not any(name.startswith("imbalance_doctor.integrations") for name in names), path


@pytest.mark.parametrize("part", ["records", "findings", "history", "rules", "checkup", "metrics"])
def test_rules_and_what_they_stand_on_know_no_torch(part):
    for name, path in parts():
        if name == part:
            assert not any(module.split(".")[0] == "torch" for module in imports_of(path)), path


@pytest.mark.parametrize("package", ["losses", "imbalance_doctor", "imbalance_doctor.cli"])
def test_importing_a_package_loads_nothing_heavy(package):
    code = (
        f"import sys, {package}; print(sorted({HEAVY!r} & set(name.split('.')[0] for name in sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"

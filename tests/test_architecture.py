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
    "plain_losses": {"statistics"},
    "statistics": set(),
    "prescriptions": {"plain"},
    "findings": {"plain", "prescriptions", "render", "texts"},  # inside methods, when a diagnosis is shown
    "metrics": {"records", "statistics"},
    "history": {"plain", "records", "statistics", "texts"},
    "rules": {"findings", "history", "prescriptions", "records", "rules"},
    "admission": {"findings", "guard", "history", "plain", "prescriptions", "rules"},
    "checkup": {"admission", "findings", "history", "records", "plain", "rules", "texts", "guard"},
    "tuning": {"plain", "rules"},
    "selection": {"admission", "plain", "rules", "tuning"},
    "files": set(),
    "project": {"findings", "rules", "selection", "texts", "tuning", "guard"},
    "runlog": {"exclusive", "findings", "records", "statistics", "texts", "guard"},
    "ranks": {"records", "texts"},
    "exclusive": set(),
    "schedule": {"checkup"},
    "run": {"findings", "ranks", "records", "runlog", "statistics", "texts", "guard"},
    "diagnose": {
        "loading",
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
    "foreign": {"metrics", "records", "run", "runlog", "statistics"},
    "loading": {"foreign", "run"},
    "follow": {"diagnose", "findings", "records", "run", "runlog", "selection", "texts", "guard"},
    "sinks": {"findings", "records"},
    "delivery": {"findings", "guard", "records", "render", "sinks"},
    "preflight": {
        "admission",
        "guard",
        "checkup",
        "findings",
        "history",
        "metrics",
        "plain",
        "prescriptions",
        "recorder",
        "records",
        "rules",
        "selection",
        "tuning",
    },
    "render": {
        "findings",
        "history",
        "metrics",
        "prescriptions",
        "records",
        "run",
        "render",
        "statistics",
        "texts",
    },
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


def test_the_catalogue_of_statistics_stands_alone():
    path = ROOT / "losses" / "catalogue.py"
    assert {name.split(".")[0] for name in imports_of(path)} <= sys.stdlib_module_names


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


@pytest.mark.parametrize(
    "part", ["records", "findings", "statistics", "history", "rules", "checkup", "metrics", "sinks"]
)
def test_rules_and_what_they_stand_on_know_no_torch(part):
    for name, path in parts():
        if name == part:
            assert not any(module.split(".")[0] == "torch" for module in imports_of(path)), path


#: What reads a log and tells what is in it, and what it stands on.
WITHOUT_TORCH = [
    "losses",
    "losses.catalogue",
    "imbalance_doctor.diagnose",
    "imbalance_doctor.follow",
    "imbalance_doctor.rules",
    "imbalance_doctor.cli",
    *(
        f"imbalance_doctor.render.{path.stem}"
        for path in (ROOT / "imbalance_doctor" / "render").glob("*.py")
        if path.stem != "events"  # it writes what torch's own summaries make
    ),
]


def test_what_reads_a_log_knows_no_torch_nor_does_what_it_imports():
    code = (
        f"import importlib, sys\nfor name in {WITHOUT_TORCH}:\n    importlib.import_module(name)\n"
        "from imbalance_doctor.rules import all_rules; all_rules()\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("package", ["losses", "imbalance_doctor", "imbalance_doctor.cli"])
def test_importing_a_package_loads_nothing_heavy(package):
    code = (
        f"import sys, {package}; print(sorted({HEAVY!r} & set(name.split('.')[0] for name in sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"

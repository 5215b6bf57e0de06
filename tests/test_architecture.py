"""The house: which part may import which, what stays light, and that nothing grows out of its room."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCTOR = ROOT / "imbalance_doctor"
PACKAGES = ("losses", "imbalance_doctor")

#: What each part of imbalance_doctor may import from it. Order is the direction of the data.
MAY_IMPORT: dict[str, set[str]] = {
    "second_names": set(),
    "losses": {"second_names"},
    "plain": set(),
    "texts": set(),
    "statistics": set(),
    "records": set(),
    "prescriptions": {"plain"},
    "findings": {"plain", "prescriptions", "render", "texts"},  # render: inside methods, when one is shown
    "guard": {"findings", "texts"},
    "history": {"plain", "records", "statistics"},
    "scores": {"records", "statistics"},
    "declared": {"records", "scores"},
    "rules": {"findings", "history", "prescriptions", "second_names"},
    "log": {"findings", "guard", "records", "statistics", "texts"},
    "foreign": {"log", "records", "scores", "statistics"},
    "examine": {
        *("findings", "foreign", "guard", "history", "log", "plain", "prescriptions", "records", "rules"),
        "texts",
    },
    "render": {"findings", "history", "log", "prescriptions", "records", "scores", "statistics", "texts"},
    "live": {
        *("declared", "examine", "findings", "guard", "history", "log", "plain", "prescriptions", "records"),
        *("render", "rules", "scores", "statistics", "texts"),
    },
    "preflight": {
        *("declared", "examine", "findings", "guard", "history", "plain", "prescriptions", "records"),
        *("rules", "scores"),
    },
    "integrations": {"findings", "guard", "live"},
    "demo": {"findings", "live", "render", "texts"},
    "cli": {
        *("demo", "examine", "findings", "guard", "log", "plain", "preflight", "render", "rules", "texts"),
    },
    "__init__": {"examine", "findings", "live", "log", "preflight", "second_names"},
    "__main__": {"cli"},
}
HEAVY = {"pandas", "plotly", "rich", "tensorboard"}
FRAMEWORKS = {"accelerate", "lightning", "pytorch_lightning", "transformers"}

#: Modules beside each other that a newcomer can take in at a glance.
MOST_BESIDE = 11
#: Lines that one job takes.
MOST_LINES = 400
#: Longer ones, and why.
LONGER = {
    "imbalance_doctor/rules/likelihood/majority_collapse.py": "half of it is its page",
    "imbalance_doctor/render/panels.py": "a catalogue",
    "imbalance_doctor/log/types.py": "a type of the log's values after the other",
    "imbalance_doctor/live/doctor.py": "the public class, most of it documentation",
    "imbalance_doctor/live/listening/plain_losses.py": "how a foreign call is read, step by step",
    "imbalance_doctor/scores/metrics.py": "a metric after the other, with its definition",
    "imbalance_doctor/examine/checkup.py": "the life of findings, which is one state",
    "losses/focal.py": "two losses and their documentation",
    "losses/ranking/base.py": "what three losses share of construction, pool and reduction",
    "losses/warmup/wrapper.py": "one module whose state spans phases, checkpoints and settings",
}


def modules(package: str = "imbalance_doctor") -> list[Path]:
    return [path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts]


def part_of(path: Path) -> str:
    return path.relative_to(DOCTOR).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The modules that a file asks for by their whole names, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module in PACKAGES else {module}
    return found


def runs(code: str) -> str:
    """What Python prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_every_part_is_listed() -> None:
    assert {part_of(path) for path in modules()} == MAY_IMPORT.keys()


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_point_one_way(part: str) -> None:
    for path in modules():
        if part_of(path) == part:
            ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("imbalance_doctor.")}
            # `imbalance_doctor.losses` is the other package by its second name, and below everything here.
            assert ours - {part, "losses"} <= MAY_IMPORT[part], path


def test_nothing_but_the_entrances_imports_what_stands_above_it() -> None:
    """The parts have an order: none can be reached again from what it imports, but to show a finding."""
    reached: dict[str, set[str]] = {part: MAY_IMPORT[part] - {"render"} for part in MAY_IMPORT}
    for _ in reached:
        reached = {part: found.union(*(reached[each] for each in found)) for part, found in reached.items()}
    assert [part for part, found in reached.items() if part in found] == []


def test_losses_know_nothing_of_the_doctor() -> None:
    for path in modules("losses"):
        assert not any(name.startswith("imbalance_doctor") for name in imports_of(path)), path


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_asks_for_the_losses_by_a_name_that_a_file_of_the_users_can_hide(package: str) -> None:
    for path in modules(package):
        if path != DOCTOR / "losses.py":
            assert not {name for name in imports_of(path) if name.split(".")[0] == "losses"}, path


def test_frameworks_are_known_to_the_integrations_alone_and_those_to_nobody() -> None:
    for path in (*modules("losses"), *modules()):
        if DOCTOR / "integrations" not in path.parents:
            names = imports_of(path)
            assert not {name.split(".")[0] for name in names} & FRAMEWORKS, path
            assert not any(name.startswith("imbalance_doctor.integrations") for name in names), path


#: What reads a log and tells what is in it. TensorBoard's event files are written with torch's summaries.
WITHOUT_TORCH = ("examine", "foreign", "history", "log", "render", "rules", "scores", "cli")


def test_what_reads_a_log_knows_no_torch_nor_does_what_it_imports() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if part_of(path) in WITHOUT_TORCH and path.name != "events.py"
    ]
    code = f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n"
    assert runs(f"{code}print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize("package", ["losses", "imbalance_doctor", "imbalance_doctor.cli"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, {package}; print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    assert runs(code) == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_holds_more_than_can_be_taken_in(package: str) -> None:
    beside = defaultdict(list)
    for path in modules(package):
        if not path.name.startswith("_"):
            beside[path.parent.relative_to(ROOT)].append(path.stem)
    assert {str(folder): len(names) for folder, names in beside.items() if len(names) > MOST_BESIDE} == {}


def test_a_long_module_has_a_reason() -> None:
    long = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in modules(package)
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert long <= LONGER.keys()


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(set)
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].add(path.stem)
    del places["DoctorCallback"]  # one for each framework, called as its users expect
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("published", "now"),
    [
        ("imbalance_doctor.metrics", "imbalance_doctor.scores.metrics"),
        ("imbalance_doctor.rare_digits", "imbalance_doctor.demo.rare_digits"),
        ("imbalance_doctor.rules.few_positives_in_pool", "imbalance_doctor.rules.pool.few_positives_in_pool"),
        ("imbalance_doctor.losses.diagnostics", "losses.diagnostics"),
    ],
)
def test_import_paths_that_docs_have_published_lead_to_the_same_module(published: str, now: str) -> None:
    assert importlib.import_module(published) is importlib.import_module(now)

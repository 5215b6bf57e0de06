"""The page that the benchmarks write, and that each of them says what it is. No test depends on a time."""

import pytest
import torch

from benchmarks import page
from benchmarks.__main__ import available
from benchmarks.harness import Table
from benchmarks.million import average_precision


def table(**more):
    return Table("A title", ["work", "ratio"], [["sorting", "0.5"]], **more)


def test_every_benchmark_is_found_by_its_file():
    found = available()
    assert {"kernels", "million"} <= found.keys()
    assert all(module.SUMMARY and callable(module.run) for module in found.values())


def test_what_falls_short_of_its_goal_is_said():
    one = table(headlines=["Half the time."])
    assert one.judge("share", 0.5, 0.25) == "0.25"
    assert one.judge("speed", 0.5, 0.25, least=True) == "0.25"
    assert one.judge("anything", 0.5, None) == ""
    assert one.missed == ["share: 0.5 (at most 0.25)"]
    text = page.section("speed", "how fast", "a machine", [one, table()])
    assert text.startswith(
        "## Speed: how fast\n\nMeasured on: a machine.\n\n- Half the time.\n\nShort of its goal"
    )
    assert text.count("| sorting | 0.5 |") == 2


def test_a_page_keeps_the_sections_of_other_benchmarks(tmp_path):
    path = tmp_path / "page.md"
    page.write(path, {"b": "first b", "a": "first a"})
    page.write(path, {"b": "second b"})
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Benchmarks")
    assert "first b" not in text
    assert text.index("first a") < text.index("second b")
    page.write(path, {})
    assert path.read_text(encoding="utf-8") == text


def test_the_average_precision_of_a_known_ranking():
    positive = torch.tensor([1, 0, 1, 0])
    assert average_precision(torch.tensor([4.0, 3.0, 2.0, 1.0]), positive) == pytest.approx((1 + 2 / 3) / 2)

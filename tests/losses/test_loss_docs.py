"""docs/losses.md keeps in step with the code. Run this file as a script to write the generated part."""

import re
import warnings
from pathlib import Path

from losses.diagnostics import CATALOGUE, Detail

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
BEGIN = "<!-- statistics: generated from losses.diagnostics.CATALOGUE by tests/losses/test_loss_docs.py -->\n"
END = "<!-- end of statistics -->"


def table():
    """The catalogue as a Markdown table."""
    lines = ["| name | shape | unit | level | meaning |", "|---|---|---|---|---|"]
    for stat in CATALOGUE:
        level = Detail(stat.detail).name.lower()
        lines.append(f"| `{stat.name}` | {stat.shape} | {stat.unit} | {level} | {stat.meaning} |")
    return "\n".join(lines) + "\n"


def generated(page):
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def test_the_table_of_statistics_is_the_catalogue():
    page = PAGE.read_text(encoding="utf-8")
    assert page == generated(page), "run: python tests/losses/test_loss_docs.py"


def test_the_examples_run():
    page = PAGE.read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert examples
    space = {"print": lambda *args: None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for example in examples:
            exec(compile(example, str(PAGE), "exec"), space)


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

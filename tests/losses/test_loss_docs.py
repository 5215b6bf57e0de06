"""The examples in docs/losses.md run."""

import re
import warnings
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"


def test_the_examples_run():
    page = PAGE.read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert examples
    space = {"print": lambda *args: None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for example in examples:
            exec(compile(example, str(PAGE), "exec"), space)

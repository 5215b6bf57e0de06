"""The forms that a diagnosis can be given in: one table for every command that gives one.

A new format is a module of this folder with a function from a diagnosis (and its run, where it draws one) to
text, and a line of `FORMATS`. Modules are imported when they are asked for, with what they need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.log.run import Run


@dataclass(frozen=True)
class Format:
    """A form of a diagnosis.

    Attributes:
        place: The function that renders it, as ``module:function`` of this folder.
        draws_run: Whether it shows the numbers of the run and not the diagnosis alone, so that only a
            recorded run has it.
        file: What its file is called beside the run where the user names none; None for standard output.
    """

    place: str
    draws_run: bool = False
    file: str | None = None

    def render(self, diagnosis: Diagnosis, run: Run | None = None) -> str:
        """The diagnosis as text that ends with one line break.

        Raises:
            ValueError: The format draws a run, and there is none.
        """
        if self.draws_run and run is None:
            raise ValueError(f"expected a run for {self.place}, which draws its numbers, got none")
        module, _, name = self.place.partition(":")
        function: Callable[..., str] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        text = function(diagnosis, run) if self.draws_run else function(diagnosis)
        return text.rstrip("\n") + "\n"


FORMATS: Mapping[str, Format] = {
    "text": Format("terminal:as_text"),
    "json": Format("exchange.json:as_json"),
    "markdown": Format("exchange.markdown:as_markdown"),
    "junit": Format("exchange.junit:as_junit"),
    "sarif": Format("exchange.sarif:as_sarif"),
    "github": Format("exchange.github:as_github"),
    "html": Format("page.html:as_page", draws_run=True, file="report.html"),
}

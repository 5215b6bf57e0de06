"""IMB021: `ignore_index` is the id of a class, so that this class is never trained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, SOFTMAX, Evidence, Rule, Verdict

#: Words in the names of classes that stand for "no class".
_MARKS = re.compile(r"pad|void|ignore|unlabel|mask|special|unknown|\bunk\b|\bnone\b|\bn/?a\b|^\W*$", re.I)


@dataclass(frozen=True)
class IgnoredClass(Rule):
    """Rows of one of the classes are left out of the loss because `ignore_index` has its id.

    ## Symptom
    The class has no row in any record. The model never learns to output it, and gives all of its rows to the
    other classes; validation metrics do not show it, because they leave out the same rows.

    ## Cause
    `ignore_index` lies between 0 and C - 1. Often it is 0, taken from a script in which 0 was padding, on
    labels in which 0 is "O", "background" or another class that the model meets in use.

    ## Remedy
    Leave `ignore_index` at -100 and pad targets with -100. For a class that is too common, weigh the others
    (class weights, a focal loss) and keep it.

    ## Evidence
    The settings tell: `ignore_index` is the id of one of the columns. Nothing but the meaning of the id tells
    padding from a class, so that it is information, and a warning where `class_names` has a name for the id
    that is no mark (pad, void, ignore, unlabelled, mask, special, unknown, none) and validation holds rows of
    it. Token classification of 4 classes, 95 % of them "O", 900 steps, 3 seeds: with `ignore_index=0` every
    "O" of the validation data was tagged as an entity, and the average precision of the rows that are left
    was .98 to .99.

    ## Known problems
    A padding id with a name of its own that is none of the marks is a warning that can be ignored.

    ## References
    PyTorch, `CrossEntropyLoss`: "ignore_index specifies a target value that is ignored and does not
    contribute to the input gradient".
    """

    code = "IMB021"
    name = "ignored-class"
    severity = "warning"
    kinds = SOFTMAX | RANKING
    requires = ("live_pos_count", "live_neg_count")
    foreseeable = True
    min_records = 1

    symptom = (
        "ignore_index={ignored:.0f} is the id of {class_label}, one of {classes:.0f} classes: the loss "
        "leaves out all of its rows."
    )
    judged_symptom = (
        "ignore_index={ignored:.0f} is the id of {class_label}, one of {classes:.0f} classes: the loss "
        "leaves out all of its rows, and the newest evaluation leaves out {rows:,.0f} of them, "
        "{percent:.0f} % of all rows there."
    )
    cause = "the loss leaves out targets with the id of a class, as if they were padding."
    remedy = (
        "use ignore_index=-100 and pad the targets with -100, unless {ignored:.0f} is the id of padding and "
        "not of a class."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare `ignore_index` with the ids of the classes."""
        ignored = window.config("ignore_index")
        negatives = window.series("live_neg_count").values
        classes = negatives.shape[1]
        if not isinstance(ignored, int) or classes < 2 or not 0 <= ignored < classes:
            return []
        # Multi-label entries of 0 or 1 that are ignored leave no negative, or no positive, in any class.
        positives = window.series("live_pos_count").values
        if not negatives[:, ignored].any() or not positives.any():
            return []
        return self._findings(window, ignored, classes)

    def _findings(self, window: Window, ignored: int, classes: int) -> Iterator[Evidence]:
        values: dict[str, float] = {"ignored": ignored, "classes": classes}
        left_out, counted = (window.eval_series(name).last(1).values for name in ("ignored_rows", "rows"))
        judged = left_out.shape == counted.shape == (1, classes) and left_out[0, ignored] > 0.0
        if judged:
            rows = left_out[0, ignored]
            values |= {"rows": rows, "percent": 100.0 * rows / (rows + counted[0].max())}
        name = window.run.class_name(ignored, classes)
        a_class = judged and name is not None and not _MARKS.search(name)
        yield Evidence(
            values,
            ignored,
            severity="warning" if a_class else "info",
            symptom=self.judged_symptom if judged else None,
        )

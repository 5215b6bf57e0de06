"""IMB102: a high gamma gives the weight to rows that may be mislabelled."""

from __future__ import annotations

from dataclasses import dataclass, field

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import FOCAL, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.gate import unready
from imbalance_doctor.rules.outcome.suspected_label_noise import SuspectedLabelNoise


@dataclass(frozen=True)
class GammaAmplifiesNoise(Rule):
    """The focusing exponent is so high that hard rows are all that counts, mislabelled ones among them.

    ## Symptom
    `gamma` is above 3. The default decision finds fewer positives, and probabilities are far from
    frequencies.

    ## Cause
    (1 - p)^gamma nearly removes rows that are nearly right. A mislabelled row looks like a very hard one and
    keeps its full weight.

    ## Remedy
    Set `gamma` to 2 or less, and check the labels.

    ## Evidence
    `gamma` above 3; a warning where `suspected-label-noise` (IMB004) warns too. Sigmoid focal at a rate of 5
    %, 500 steps, 2 seeds, a share of the positives mislabelled; clean validation data (Gaussian data /
    digits):

    | optimizer, alpha, mislabelled | AP at gamma 2 | at 5 | recall at 0.5 | at 5 | calibration error | at 5 |
    |---|---|---|---|---|---|---|
    | Adam, 0.25, none | .94 / .96 | .94 / .98 | .74 / .85 | .74 / .87 | .04 / .02 | .13 / .07 |
    | Adam, 0.25, 40 % | .93 / .96 | .93 / .92 | .75 / .76 | .75 / .75 | .15 / .18 | .30 / .31 |
    | Adam, 0.75, 40 % | .94 / .94 | .94 / .94 | .90 / .92 | .91 / .94 | .28 / .32 | .37 / .40 |
    | SGD, 0.25, none | .94 / .89 | .93 / .80 | .75 / .66 | .71 / .42 | .04 / .06 | .16 / .20 |
    | SGD, 0.25, 40 % | .94 / .93 | .92 / .81 | .72 / .60 | .53 / .16 | .16 / .18 | .30 / .30 |

    The order of the scores hardly suffers under Adam, clean labels or not: gamma does not amplify noise there
    as published. What it costs is calibration always, and recall at the default threshold where SGD and noise
    meet.

    ## Known problems
    A high gamma was chosen for a reason in some tasks (dense detection with clean labels); alone it is
    information.

    ## References
    Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, section 5 (gamma 2 was best, 5 worse).
    """

    code = "IMB102"
    name = "gamma-amplifies-noise"
    severity = "info"
    kinds = FOCAL
    requires = ("loss",)
    explained_by = ("IMB001",)
    foreseeable = True
    new_run = ("gamma", "wanted")

    symptom = "gamma is {gamma:.3g}."
    noisy_symptom = (
        "gamma is {gamma:.3g}, and about {noise_percent:.0f} % of the positives of {class_label} score like "
        "negatives."
    )
    cause = (
        "so high an exponent leaves the loss to the hardest rows: probabilities move away from frequencies, "
        "and mislabelled rows look like hard ones."
    )
    remedy = "set gamma={wanted:.3g}, and check the labels of the lowest-scored positives."

    gamma: float = threshold(
        3.0,
        "gamma above which it is reported: 2 is the published optimum, and at 5 the calibration error was "
        "1.2 to 4 times that at 2.",
    )
    wanted: float = threshold(2.0, "gamma that the remedy names: the published optimum.")
    #: Who tells wrong labels: IMB004 as it applies in this run, thresholds and all.
    labels: SuspectedLabelNoise = field(default_factory=SuspectedLabelNoise)

    def examine(self, window: Window) -> Verdict:
        """Look at gamma, and at the labels if it is high."""
        gamma = float(window.config("gamma", 0.0))
        if gamma <= self.gamma:
            return []
        noisy = {item.class_index: item.values["noise_percent"] for item in self._noisy(window)}
        # On a binary task a finding that grows graver; on several classes, one for each that is noisy too.
        alone = 0 if window.classes == 1 else None
        return [self._evidence(gamma, index, noisy.get(index)) for index in {alone: 0.0, **noisy}]

    def _evidence(self, gamma: float, index: int | None, noise: float | None) -> Evidence:
        values = {"gamma": gamma, "wanted": self.wanted}
        prescription = Change("gamma", gamma, self.wanted)
        if noise is None:
            return Evidence(values, index, prescription=prescription)
        return Evidence(
            {**values, "noise_percent": noise},
            index,
            severity="warning",
            symptom=self.noisy_symptom,
            prescription=prescription,
        )

    def _noisy(self, window: Window) -> list[Evidence]:
        verdict = unready(self.labels, window) or self.labels.examine(window)
        found = [] if isinstance(verdict, Skipped) else verdict
        return [item for item in found if item.severity == "warning"]

"""The demo keeps its promises: faults named early, reports that agree, a cure that pays."""

import json

import pytest

from imbalance_doctor import diagnose, load_run
from imbalance_doctor.cli import main


@pytest.mark.slow
def test_the_demo_diagnoses_treats_and_cures(tmp_path, capsys):
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for code in ("IMB401 empty-band", "IMB202 saturated-temperature"):
        assert code in out
    for name, code in (("pauc", "IMB401"), ("recall", "IMB202")):
        sick, treated = tmp_path / f"{name}-sick", tmp_path / f"{name}-treated"
        assert main(["report", str(sick), "--format", "json"]) == 1
        reported = json.loads(capsys.readouterr().out)
        assert code in {finding["code"] for finding in reported["findings"]}
        # What was raised live is in the log too, and is what the report finds in the records.
        live = {(f.code, f.step) for f in load_run(sick).live_findings}
        assert {(f.code, f.step) for f in diagnose(sick).findings} == live
        assert main(["report", str(treated), "-o", str(treated / "report.txt")]) == 0
        assert load_run(treated).treatments
        for run in (sick, treated):
            assert (run / "report.html").exists()
            assert list(run.glob("events.out.tfevents*"))

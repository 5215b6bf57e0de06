"""A prescription is a type that reads as its JSON does, in memory, in a log and in a report."""

import copy
import json
import pickle

import pytest

from imbalance_doctor.findings import Diagnosis, Finding
from imbalance_doctor.log import encode_finding, header, read_log
from imbalance_doctor.prescriptions import Change, ResetQueue, prescription_of
from imbalance_doctor.records import RunInfo
from imbalance_doctor.render.exchange.json import as_json

AS_JSON = [
    (Change("queue_size", 1024, 4000), {"parameter": "queue_size", "from": 1024, "to": 4000}),
    (Change("max_pool_size", 64, None), {"parameter": "max_pool_size", "from": 64, "to": None}),
    (Change("alpha", None, [0.1, 0.9]), {"parameter": "alpha", "from": None, "to": [0.1, 0.9]}),
    (ResetQueue(), {"parameter": "queue", "action": "reset"}),
]


def finding(prescription):
    return Finding(
        "IMB003", "few", "warning", "ap", 0, None, 7, 7, "open", "s", "c", "r", {"x": 1.0}, prescription
    )


@pytest.mark.parametrize(("prescription", "data"), AS_JSON)
def test_it_answers_as_its_json_does(prescription, data):
    assert dict(prescription) == prescription.to_dict() == data
    assert list(prescription) == list(data)
    assert prescription == data
    assert data == prescription
    assert [prescription[key] for key in data] == list(data.values())
    assert prescription.get("action") == data.get("action")
    with pytest.raises(KeyError):
        prescription["before"]
    assert {**prescription, "more": 1} == {**data, "more": 1}


@pytest.mark.parametrize(("prescription", "data"), AS_JSON)
def test_the_types_come_back_from_a_log_a_report_and_a_checkpoint(tmp_path, prescription, data):
    sick = finding(prescription)
    line = encode_finding(sick)
    assert f'"prescription":{json.dumps(data, separators=(",", ":"))}' in line
    assert json.loads(as_json(Diagnosis((sick,))))["findings"][0]["prescription"] == data
    path = tmp_path / "diagnostics-rank0.jsonl"
    path.write_text(f"{header(RunInfo())}\n{line}\n")
    (read,) = read_log(path).live_findings
    kept = Finding.from_dict(json.loads(json.dumps(sick.to_dict())))
    for again in (read, kept, pickle.loads(pickle.dumps(sick)), copy.deepcopy(sick)):
        assert again == sick
        assert type(again.prescription) is type(prescription)


@pytest.mark.parametrize(("prescription", "data"), AS_JSON)
def test_a_finding_takes_what_reads_as_one(prescription, data):
    assert type(finding(data).prescription) is type(prescription)
    assert finding(data) == finding(prescription)


def test_what_a_finding_gives_away_is_a_copy():
    sick = finding(Change("alpha", None, [0.1]))
    sick.to_dict()["prescription"]["to"].append(2)
    assert sick.prescription.after == [0.1]


def test_no_type_equals_another_or_what_has_more():
    assert Change("queue", 1, 2) != Change("queue", 1, 3)
    assert Change("queue", 1, 2) != ResetQueue()
    assert ResetQueue() != {"parameter": "queue", "action": "reset", "more": 1}


@pytest.mark.parametrize(
    "data", [{}, {"to": 1}, {"parameter": "queue", "action": "burn"}, {**AS_JSON[0][1], "more": 1}]
)
def test_what_reads_as_none_says_what_was_expected(data):
    with pytest.raises(ValueError, match="expected prescription to have the keys parameter, from and to, or"):
        prescription_of(data)

"""A preflight's numbers and a run's treatments, in text and in HTML."""

import pytest

from imbalance_doctor.findings import Diagnosis, Expected
from imbalance_doctor.render.exchange.json import as_json
from imbalance_doctor.render.expected import passing, quantity, tables
from imbalance_doctor.render.notebook import as_html
from imbalance_doctor.render.terminal import as_text


def numbers(classes):
    return Diagnosis(
        expected=(
            Expected("rows in a batch", 64, "ap"),
            *(Expected("positives", 10.0 * k, "ap", k) for k in range(classes)),
        ),
        settings={"queue_size": 4000, "tau_scale": "iqr", "max_pool_size": None},
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.128, "rows", "0.128"),
        (1e-6, "share", "1e-4 %"),
        (0.0034, "share", "0.34 %"),
        (1e-12, "chance", "< 0.01 %"),
        (0.37, "chance", "37 %"),
        (512, "bytes", "512 B"),
        (3 * 2**30, "bytes", "3 GiB"),
        (4e-5, "seconds", "40 µs"),
        (90.0, "seconds", "90 s"),
    ],
)
def test_quantities_have_their_unit(value, unit, text):
    assert quantity(value, unit) == text


def test_classes_are_side_by_side_while_there_is_room():
    [one] = tables(numbers(1))
    assert one.columns == ("",)
    assert one.rows == (("rows in a batch", "64"), ("positives", "0"))
    [three] = tables(numbers(3))
    assert three.columns == ("class 0", "class 1", "class 2")
    assert three.rows == (("rows in a batch", "64", "", ""), ("positives", "0", "10", "20"))
    [many] = tables(numbers(100))
    assert many.columns == ("least", "most")
    assert many.rows[1] == ("positives", "0", "990")


def test_settings_are_shown_as_one_would_type_them():
    assert passing(numbers(1)) == "queue_size=4000, tau_scale='iqr', max_pool_size=None"
    for shown in (as_text(numbers(3)), as_html(numbers(3)).replace("&#x27;", "'")):
        assert "These settings pass together" in shown
        assert "queue_size=4000, tau_scale='iqr'" in shown
        assert "class 2" in shown


def test_treatments_are_in_every_report():
    diagnosis = Diagnosis(treatments=("pauc: queue_size 64 → 4000 (IMB401, step 100)",))
    assert "Treated" in as_text(diagnosis)
    for shown in (as_text(diagnosis), as_html(diagnosis)):
        assert "pauc: queue_size 64 → 4000 (IMB401, step 100)" in shown
    assert "IMB401, step 100" in as_json(diagnosis)
    assert "Treated" not in as_text(Diagnosis())

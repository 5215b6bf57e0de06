from __future__ import annotations

import math

import numpy as np
import pytest

from imbalance_doctor.prescriptions import Change
from imbalance_doctor.render.numbers import number, prescription, ranges
from imbalance_doctor.texts import clean


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.0, "0"),
        (-3, "−3"),
        (4096, "4,096"),
        (4096.0, "4,096"),
        (1234567, "1,234,567"),
        (1234.56, "1,235"),
        (12.345, "12.3"),
        (0.0123456, "0.0123"),
        (0.004, "0.004"),
        (np.float32(0.05), "0.05"),
        (3.2e-9, "3.2e-9"),
        (-3.2e-9, "-3.2e-9"),
        (2.5e12, "2.5e12"),
        (math.nan, "n/a"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (None, "none"),
        (True, "on"),
        ("iqr", "iqr"),
        ([1024, 0.5], "[1,024, 0.5]"),
    ],
)
def test_numbers_have_three_digits_and_whole_ones_all(value: object, expected: str) -> None:
    assert number(value) == expected


def test_a_small_share_never_becomes_zero() -> None:
    assert all(number(10.0**-k) != "0" for k in range(1, 300, 7))


def test_ranges_say_how_many_are_left_out() -> None:
    assert ranges([3, 1, 2, 9]) == "1-3, 9"
    assert ranges(range(0, 100, 2), most=2) == "0, 2 and 48 more"
    assert ranges([]) == ""


def test_a_prescription_reads_as_a_change() -> None:
    assert prescription(Change("tau_scale", None, "iqr")) == "tau_scale: none → iqr"


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert clean("a\x1b[31mb\nc\x00") == "ab c\N{REPLACEMENT CHARACTER}"

"""What a cell of a column of labels says."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.reading.class_labels import class_finder, class_names, class_number, class_of, read_label
from compressor.data.reading.rows import Unreadable

DRESSES = (int, float, str, Decimal, lambda n: f" {n}.0 ", lambda n: f"LABEL_{n}", lambda n: f"label_{n}")


@given(st.integers(-9, 10**6), st.sampled_from(DRESSES))
def test_a_number_is_the_same_in_every_dress(number, dress):
    if number >= 0 or "LABEL" not in str(dress(number)).upper():
        assert class_number(dress(number)) == number


@pytest.mark.parametrize("no", [False, "False", "false", 0, "0", 0.0, "0.0", "0.", "00", "LABEL_0", "<class 0>"])
def test_no_is_number_nought(no):
    assert (class_number(no), class_of(no, ("0", "1")), class_of(no, ("False", "True"))) == (0, 0, 0)


@pytest.mark.parametrize("name", ["positive", "1 star", "1_0", "v1.0", "LABEL_x", "yes", "1,5", "9" * 5000])
def test_a_name_is_no_number(name):
    assert class_number(name) is None


@pytest.mark.parametrize("nothing", [None, "", " ", "-", float("nan"), "nan", "NaN"])
def test_a_cell_without_a_label(nothing):
    with pytest.raises(Unreadable, match=r"^no label$"):
        read_label(nothing)


@pytest.mark.parametrize("score", [0.5, "0.5", "-.5", "1e-3", float("inf"), "9" * 5000, [1], {"a": 1}, b"1"])
def test_a_cell_that_is_no_class(score):
    with pytest.raises(Unreadable, match=r"is no class$"):
        read_label(score)


def test_names_decide_before_numbers_and_as_they_are_written_first():
    find = class_finder(("us", "US", "1", "LABEL_0", "a", "A ", "Two", "same", "same"))
    found = {"US": 1, "us": 0, "Us": None, "1.0": 2, "0": 3, "A": 5, " two": 6, "same": None, "b": None}
    assert {label: find(label) for label in found} == found
    assert class_finder(("1", "yes"), numbers=False)("1.0") is None


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        ([0, "2", 1.0, "LABEL_3", True], ("0", "1", "2", "3")),
        ([2, 0.5, None, "nan"], ("0", "1", "2")),
        (["True", "mixed", "1", True], ("1", "mixed")),
        ([" b", "a", "b"], ("a", "b")),
        ([-1, 0, "1"], ("-1", "0", "1")),
        ([0, 20_261_127], ("0", "20261127")),
        ([0.5], ()),
        ([], ()),
    ],
)
def test_classes_of_a_column(cells, names):
    assert class_names(cells) == names

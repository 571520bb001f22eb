"""What is wrong with a value is said field by field."""

import pytest
from pydantic import ValidationError, model_validator

from compressor.values import Value, list_faults


class Range(Value):
    """Two whole numbers in order."""

    first: int
    last: int

    @model_validator(mode="after")
    def check(self):
        if self.first > self.last:
            raise ValueError("not in order")
        return self


@pytest.mark.parametrize(
    ("fields", "begin"),
    [
        ({"first": "x", "last": 1}, ["first: "]),
        ({"first": 1}, ["last: "]),
        ({"first": 2, "last": 1}, ["Value error, "]),
    ],
)
def test_each_fault_has_its_field_and_one_of_the_whole_has_none(fields, begin):
    with pytest.raises(ValidationError) as error:
        Range(**fields)
    faults = list_faults(error.value)
    assert [fault.startswith(start) for fault, start in zip(faults, begin, strict=True)] == [True] * len(begin)

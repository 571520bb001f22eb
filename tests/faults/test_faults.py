"""The faults fit the code as it is, and the tests that they name are there; that these catch them, the script shows."""

import os
import subprocess

import pytest

from tests.faults.patches import ROOT, read_faults

FAULTS = read_faults()
PRODUCT = ("compressor", "exporters", "profiles", "das")
MOST_SLOW = 2


def test_there_are_enough_of_them_and_make_test_catches_nearly_all():
    numbers, names = zip(*(fault.name.split("-", 1) for fault in FAULTS), strict=True)
    assert len(set(numbers)) == len(set(names)) == len(FAULTS) >= 40
    assert len({fault.diff for fault in FAULTS}) == len(FAULTS)
    assert sum(fault.suite == "test-all" for fault in FAULTS) <= MOST_SLOW


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_changes_one_line_of_the_product(fault):
    before, after, _, *lines = fault.diff.splitlines()
    assert (before, after) == (f"--- a/{fault.file}", f"+++ b/{fault.file}")
    assert fault.file.split("/")[0] in PRODUCT
    assert [line[0] for line in lines if line[0] != " "] == ["-", "+"]
    place = {**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    done = subprocess.run(["git", "apply", "--check", fault.path], cwd=ROOT, env=place, capture_output=True, text=True)
    assert done.returncode == 0, f"make the patch again, on the code as it is now: {done.stderr}"


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_tests_that_a_fault_names_are_there(fault):
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test

"""The paper's tables as data; that their MACs follow from the sizes is in tests/profiles/macs."""

import re
from dataclasses import replace

import pytest

from compressor.tuning.methods import METHODS
from profiles.macs.tuning_costs import count_tuning
from profiles.paper.printed import DAS, parts_of, read_parts
from profiles.paper.table_rows import TUNED


def test_the_tables_are_whole():
    counts = {table: [len(part.rows) for part in parts_of(table)] for table in ("table-a", "table-b", "table-c")}
    assert counts == {"table-a": [9, 9, 3, 2, 3, 2], "table-b": [9], "table-c": [9, 9]}
    assert {row.method for part in parts_of("table-c") for row in part.rows} == {DAS, *TUNED}
    assert sum(bool(row.doubt) for part in read_parts() for row in part.rows) == 7


def test_as_many_layers_are_named_as_are_skipped():
    for row in (row for part in read_parts() for row in part.rows if row.skip is not None):
        assert len((row.reading or row.layers).split()) == row.skip
        assert bool(row.reading) == bool(row.doubt)


@pytest.mark.parametrize(
    ("name", "agrees", "shares"), [("prefix", 8, ("prefix",)), ("mam", 33, ("prefix", "parallel"))]
)
def test_what_is_wrong_with_tuning_follows_from_sizes(name, agrees, shares):
    """Both of a prefix and an adapter cost the same a token and a unit, so only their sum counts."""
    (printed,) = parts_of("table-c")[0].find(name)

    def count(units):
        own = replace(METHODS[name], **{share: units / len(shares) / 768 for share in shares})
        return count_tuning("roberta", own, text_length=512)

    units, parameters = re.search(r"with (?:those of )?(\d+), ([\d.]+) M,", printed.doubt).groups()
    found = count(int(units))
    assert f"{found.additional_macs / 1e9:.2f}" == f"{printed.gmacs:.2f}"
    assert f"{found.updated_parameters / 1e6:.2f}" == parameters
    assert f"{agrees} tokens" in printed.doubt
    assert abs(agrees * 2 * 768 * 12 / 1e6 - printed.updated) < 0.01


def test_random_subsets_of_the_paper_are_found_together():
    (part,) = parts_of("table-b")
    assert [row.score for row in part.find("random", 8, "fusion")] == [71.81, 68.56, 69.88]
    assert part.find("random", 2, "fusion") == ()

"""The paper's tables as data; that their MACs follow from the sizes is in tests/profiles/macs."""

from profiles.paper.printed import DAS, parts_of, read_parts
from profiles.paper.table_rows import TUNED


def test_the_tables_are_whole():
    counts = {table: [len(part.rows) for part in parts_of(table)] for table in ("table-a", "table-b", "table-c")}
    assert counts == {"table-a": [9, 9, 3, 2, 3, 2], "table-b": [9], "table-c": [9, 9]}
    assert {row.method for part in parts_of("table-c") for row in part.rows} == {DAS, *TUNED}
    assert sum(bool(row.doubt) for part in read_parts() for row in part.rows) == 3


def test_as_many_layers_are_named_as_are_skipped():
    for row in (row for part in read_parts() for row in part.rows if row.skip is not None):
        assert len((row.reading or row.layers).split()) == row.skip
        assert bool(row.reading) == bool(row.doubt)


def test_random_subsets_of_the_paper_are_found_together():
    (part,) = parts_of("table-b")
    assert [row.score for row in part.find("random", 8, "fusion")] == [71.81, 68.56, 69.88]
    assert part.find("random", 2, "fusion") == ()

"""Tables of any shape in lines of any width: no figure is cut, and no line is longer than the terminal."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from das.render.rich_tables import draw
from profiles.formatting import Table

FIGURES = st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,3})?", fullmatch=True)


def lines(table, width, words=()):
    console = Console(width=width, record=True, file=StringIO())
    console.print(draw(table, words, width))
    return console.export_text().splitlines()


@given(st.integers(2, 9), st.integers(1, 4), st.integers(40, 120), st.data())
def test_every_figure_stands_whole_within_the_width(columns, rows, width, data):
    cells = tuple(
        ("agreement with the full model, %", *(data.draw(FIGURES) for _ in range(columns - 1))) for _ in range(rows)
    )
    drawn = lines(Table("", ("", *["a long header"] * (columns - 1)), cells), width)
    assert max(len(line.rstrip()) for line in drawn) <= width
    shown = " ".join(drawn).split()
    assert all(figure in shown for row in cells for figure in row[1:])


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_words_are_wrapped_and_nothing_is_dropped(width):
    table = Table("layers", ("k", "score", "layers"), (("1", "98.765", "FL0, FL1, FL2, FL3, FV0, FV1, FV2 and FV3"),))
    drawn = " ".join(lines(table, width, words=("layers",)))
    assert all(word in drawn for word in ("98.765", "FL0,", "FV2", "FV3"))
    assert "…" not in drawn


def test_a_table_that_fits_keeps_its_blanks():
    (header,) = (line for line in lines(Table("", ("", "one", "two"), (("a", "1", "2"),)), 80) if "one" in line)
    assert header.rstrip() == "      one   two"

"""Tables A, B and C of the paper's supplement, row by row as they are printed (``tables.json``)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from statistics import fmean

from pydantic import TypeAdapter

from compressor.values import Value

DAS = "das"
TABLES = ("table-a", "table-b", "table-c")


class PrintedRow(Value):
    """One row of one data set.

    Attributes:
        method: ``das``, ``random``, or a method of tuning.
        scope: layers that may be skipped; None where the row does not say.
        skip: how many layers are skipped; None where none can be.
        scores: in per cent; of retrieval R@1 of images and of texts.
        updated: parameters that are updated, in millions; None where none are printed.
        gmacs: "Additional FLOPs", which are MACs, in G.
        layers: that are skipped, as printed.
        doubt: what is wrong with a row that contradicts itself, as a clause.
        reading: layers that give its figure all the same; '' where layers are not what is wrong.
    """

    method: str = DAS
    scope: str | None = None
    skip: int | None = None
    scores: tuple[float, ...]
    updated: float | None = None
    gmacs: float
    layers: str = ""
    doubt: str = ""
    reading: str = ""

    @property
    def score(self) -> float:
        """The mean of its scores, in per cent."""
        return fmean(self.scores)


class PrintedPart(Value):
    """The rows of one model and one data set, and the sizes that their figures follow from.

    Attributes:
        table: a key of ``TABLES``.
        family: of the model.
        dataset: as it is printed.
        split: that is scored.
        task: its name in das.
        samples: to be scored; None where the answers are on a server.
        classes: of the data, where a model may have any number of them.
        image_size: height and width, in pixels; None without images.
        text_length: in tokens.
        parallel_width, skip_width: bottlenecks of the adapters, at the published model's width; None is the family's.
        rows: as they are printed.
    """

    table: str
    family: str
    dataset: str
    split: str
    task: str
    samples: int | None = None
    classes: int | None = None
    image_size: tuple[int, int] | None = None
    text_length: int
    parallel_width: int
    skip_width: int | None = None
    rows: tuple[PrintedRow, ...]

    def find(self, method: str, skip: int | None = None, scope: str | None = None) -> tuple[PrintedRow, ...]:
        """Return the rows of a method, a number of layers and a scope; several of random subsets, or none."""
        wanted = (method, skip, scope)
        return tuple(row for row in self.rows if (row.method, row.skip, row.scope) == wanted)


@cache
def read_parts() -> tuple[PrintedPart, ...]:
    """Return every part of the three tables."""
    return TypeAdapter(tuple[PrintedPart, ...]).validate_json((Path(__file__).parent / "tables.json").read_bytes())


def parts_of(table: str) -> tuple[PrintedPart, ...]:
    """Return the parts of one table."""
    return tuple(part for part in read_parts() if part.table == table)

"""Which rows of a table of the paper a model can have, and the options of the commands that make them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compressor.errors import shorten, usage_error
from compressor.tuning.methods import METHODS
from profiles.paper.printed import DAS, TABLES, PrintedPart, PrintedRow, parts_of, read_parts

PUBLISHED_WIDTH = 768  # of every model in the tables
AUTO, RANDOM = "auto", "random"
DRAWS = 3  # random subsets of each size and seed, as Table B has
TUNED = tuple(METHODS)
TITLES = {name: method.title for name, method in METHODS.items()} | {DAS: "DAS", AUTO: "auto", RANDOM: "random"}
"""Methods as reports call them."""
FULL_ROW, TUNED_SKIP = "full", 2  # row of Table C from whose models these many layers are skipped, too
LEFT_OUT = "left out by --rows"
FULL_MODEL = "full model"
"""What a fine-tuned checkpoint itself is called where rows are compared with it."""


@dataclass(frozen=True)
class Subject:
    """The checkpoint that a table is run on.

    Attributes:
        family: of its model.
        task: to be reproduced.
        scopes: for each scope of the family, the model's layers in it by pool; the default scope first.
        hidden: width of its stream.
        fine_tuned: it has a head for the task.
        placeless: why methods of tuning have no place in its layers, by method.
    """

    family: str
    task: str
    scopes: Mapping[str, Mapping[str, int]]
    hidden: int
    fine_tuned: bool
    placeless: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TableRow:
    """One row of a table, as it is run.

    Attributes:
        name: as ``--rows`` and folders call it.
        title: as reports call it.
        method: ``das``, ``random``, ``auto``, or a method of tuning.
        skip: how many layers are skipped; None where none can be.
        scope: as the paper calls what may be skipped; None where the table does not say.
        options: of ``das.compress`` or ``das.tune``.
        draws: runs of each seed.
        start: name of the row whose model, of the same seed, is the checkpoint; '' starts from the user's.
        against: names of the rows, or the full model, that its scores are compared with.
        missing: why it cannot be run on this checkpoint, as a sentence; '' where it can.
    """

    name: str
    title: str
    method: str
    skip: int | None = None
    scope: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1
    start: str = ""
    against: tuple[str, ...] = ()
    missing: str = ""

    @property
    def tunes(self) -> bool:
        """True where it is made by ``das.tune``, else by ``das.compress``."""
        return self.method in TUNED


@dataclass(frozen=True)
class Attempt:
    """One run of a row.

    Attributes:
        row: that it belongs to.
        seed: of the command.
        draw: number of the run among those of the row and the seed, from 0.
    """

    row: TableRow
    seed: int
    draw: int = 0

    @property
    def lot(self) -> int:
        """The seed of the run itself: no two runs of a row share one."""
        return self.seed * self.row.draws + self.draw

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.row.name}-seed{self.seed}" + (f"-draw{self.draw}" if self.row.draws > 1 else "")


def check_table(table: str, subject: Subject) -> tuple[PrintedPart, ...]:
    """Return the parts of a table that a model can stand in for; of several data sets all.

    Raises:
        UsageError: no such table, or none of its models is like this one.
    """
    if table not in TABLES:
        raise usage_error("unknown-table", table, f"one of {', '.join(TABLES)}", f"das reproduce {TABLES[0]} CKPT")
    parts = parts_of(table)
    # Any encoder of texts can stand in for the one that Table C was run on: its recipe does not name a layer.
    own = tuple(part for part in parts if part.task == subject.task and (part.family == subject.family or part.classes))
    if own:
        return own
    printed = dict.fromkeys(f"{part.family} for {part.task}" for part in parts)
    others = dict.fromkeys(part.table for part in read_parts() if part.task == subject.task)
    raise usage_error(
        "table-of-other-models",
        f"{table} for {subject.family} with --task {subject.task}",
        f"a model and a task that it has: {', '.join(printed)}",
        " or ".join(f"das reproduce {other}" for other in others) or "give another model or task",
    )


def choose_part(parts: Sequence[PrintedPart], classes: int | None) -> PrintedPart:
    """Return the part whose data has as many classes, else the last: the nearest that the table has."""
    return next((part for part in parts if part.classes in (None, classes)), parts[-1])


def find_printed(part: PrintedPart, row: TableRow) -> tuple[PrintedRow, ...]:
    """Return what the paper prints of a row: nothing, or several subsets; DAS beside random ones is Table A's."""
    if row.start:
        return ()
    tables = (other for other in read_parts() if (other.family, other.dataset) == (part.family, part.dataset))
    return tuple(found for table in tables for found in table.find(row.method, row.skip, row.scope))


def list_rows(table: str, subject: Subject) -> tuple[TableRow, ...]:
    """Return every row of a table, also those that cannot be run on the model, and why.

    Raises:
        UsageError: as :func:`check_table`.
    """
    part = check_table(table, subject)[0]
    return tuple(_ROWS[table](part, subject))


def choose_rows(rows: Sequence[TableRow], names: Sequence[str] | None) -> tuple[TableRow, ...]:
    """Return the rows with these names (None: all), and those that they start from, in the table's order.

    Raises:
        UsageError: there is no such row, or none is named.
    """
    known = {row.name: row for row in rows}
    names = tuple(known) if names is None else names
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found, expected = f"--rows {','.join(unknown)}", f"rows of the table: {shorten(tuple(known), most=20)}"
        raise usage_error("unknown-row", found, expected, f"--rows {rows[0].name}, or no --rows for all")
    wanted = {*names, *(known[name].start for name in names)}
    return tuple(row for row in rows if row.name in wanted)


def _rows_of_a(part: PrintedPart, subject: Subject) -> Iterator[TableRow]:
    """Return DAS at every scope and number of layers that is printed."""
    first = FULL_MODEL if subject.fine_tuned else "skip-0"
    for printed in part.rows:
        assert printed.skip is not None
        scope = _own_scope(printed.scope, subject)
        name = f"{scope or 'skip'}-{printed.skip}"
        missing = _too_deep(printed.skip, scope, subject)
        if not printed.skip and subject.fine_tuned:
            missing = f"nothing is skipped and nothing trained: the score of the {FULL_MODEL} stands in its place"
        yield TableRow(
            name=name,
            title=_title(DAS, printed.skip, scope),
            method=DAS,
            skip=printed.skip,
            scope=printed.scope,
            options=_compress(part, subject, DAS if printed.skip else None, printed.skip, scope),
            against=(first,) if name != first else (),
            missing=missing,
        )


def _rows_of_b(part: PrintedPart, subject: Subject) -> Iterator[TableRow]:
    """Return random subsets, DAS and auto at every number of layers that is printed."""
    for skip, scope in dict.fromkeys((row.skip, row.scope) for row in part.rows):
        assert skip is not None
        own, missing = _own_scope(scope, subject), _too_deep(skip, _own_scope(scope, subject), subject)
        lots = f"{RANDOM}-{skip}"
        for method in (RANDOM, DAS, AUTO):
            headless = (
                "auto asks a trained head which layers its answers need, and this checkpoint has none: fine-tune it, "
                "and give the fine-tuned one"
                if method == AUTO and not subject.fine_tuned
                else ""
            )
            balanced = {"balanced": True} if method == RANDOM else {}
            yield TableRow(
                name=f"{method}-{skip}",
                title=_title(method, skip, own),
                method=method,
                skip=skip,
                scope=scope,
                options=_compress(part, subject, method, skip, own) | balanced,
                draws=DRAWS if method == RANDOM else 1,
                against={RANDOM: (), DAS: (lots,), AUTO: (lots, f"{DAS}-{skip}")}[method],
                missing=missing or headless,
            )


def _rows_of_c(part: PrintedPart, subject: Subject) -> Iterator[TableRow]:
    """Return every method of tuning, DAS, and what skips layers of the tuned model."""
    for printed in part.rows:
        if printed.method in TUNED:
            against = (FULL_ROW,) if printed.method != FULL_ROW else ()
            missing = subject.placeless.get(printed.method, "")
            yield TableRow(printed.method, TITLES[printed.method], printed.method, against=against, missing=missing)
            continue
        assert printed.skip is not None
        yield TableRow(
            name=f"{DAS}-{printed.skip}",
            title=_title(DAS, printed.skip),
            method=DAS,
            skip=printed.skip,
            options=_compress(part, subject, DAS, printed.skip, None, adapt=True),
            against=(FULL_ROW,),
            missing=_too_deep(printed.skip, None, subject),
        )
    for method in (DAS, AUTO):
        others = (f"tuned-{DAS}-{TUNED_SKIP}",) if method == AUTO else ()
        yield TableRow(
            name=f"tuned-{method}-{TUNED_SKIP}",
            title=f"{TITLES[FULL_ROW]}, then {_title(method, TUNED_SKIP)}",
            method=method,
            skip=TUNED_SKIP,
            options={"skip": TUNED_SKIP, "strategy": method},
            start=FULL_ROW,
            against=(FULL_ROW, *others),
            missing=_too_deep(TUNED_SKIP, None, subject),
        )


_ROWS = {"table-a": _rows_of_a, "table-b": _rows_of_b, "table-c": _rows_of_c}


def _compress(
    part: PrintedPart, subject: Subject, strategy: str | None, skip: int, scope: str | None, adapt: bool | None = None
) -> dict[str, Any]:
    """Return the options of ``das.compress``: adapters as wide as the table's, in proportion, for what is adapted."""
    adapt = not subject.fine_tuned if adapt is None else adapt
    options: dict[str, Any] = {"skip": skip, "strategy": strategy, "scope": scope}
    if adapt:
        widths = {"parallel_width": part.parallel_width, "skip_width": part.skip_width}
        options |= {"adapt": True} | {
            name: max(1, round(width * subject.hidden / PUBLISHED_WIDTH)) for name, width in widths.items() if width
        }
    return {name: value for name, value in options.items() if value is not None}


def _own_scope(scope: str | None, subject: Subject) -> str | None:
    """Return the family's scope of that name; a family with one scope need not name it."""
    return scope if scope in subject.scopes else None


def _too_deep(skip: int, scope: str | None, subject: Subject) -> str:
    """Say why so many layers cannot be chosen; '' where they can."""
    pools = subject.scopes[scope or next(iter(subject.scopes))]
    layers = sum(pools.values())
    return f"the model has {layers} layers to choose {skip} of" if skip >= layers else ""


def _title(method: str, skip: int, scope: str | None = None) -> str:
    return f"{TITLES[method]}, k = {skip}" + (f", {scope}" if scope else "")

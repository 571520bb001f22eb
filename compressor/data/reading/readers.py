"""Files of rows: JSON lists and lines, CSV and TSV, Hugging Face arrow streams, Parquet."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from compressor.data.arrow_files import BATCH, read_table, table_rows
from compressor.data.reading.image_refs import Cell
from compressor.data.reading.rows import Placed, Unreadable, number_rows
from compressor.errors import input_error

LONGEST_CELL = 1 << 27  # characters
QUOTED = {"question1", "question2"}  # columns of GLUE's QQP, which is quoted as CSV is; no other TSV file is


def lines(path: Path) -> Iterator[str]:
    """Return the lines of a text file.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise input_error(
            "not-text", f"{path} is no text ({error})", "UTF-8 text", "convert or copy it again"
        ) from None


def load_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return a JSON document; ``hook`` sees every object in it, as in :func:`json.load`.

    Raises:
        InputError: it is no JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file, object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise input_error(
            "not-json", f"{path} is no JSON ({error})", "a JSON document", "download or write it again"
        ) from None


def json_list(path: Path, name: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> list[Any]:
    """Return the objects of the list ``name`` of a JSON document; :class:`Unreadable` for what is none.

    Raises:
        InputError: no JSON, or no such list, or an empty one.
    """
    document = load_json(path, hook)
    rows = document.get(name) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise input_error(
            "json-list-missing", f"{path} has no list {name!r}", f"a JSON document with {name}", "download it again"
        )
    return [_object(row) for row in rows]


def json_objects(path: Path, name: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> list[tuple[str, Any]]:
    """Return the objects of a JSON document that is an object of objects, with their keys as places.

    Args:
        path: of the document.
        name: of one of them, for messages.
        hook: as in :func:`load_json`.

    Raises:
        InputError: no JSON, or no such document, or an empty one.
    """
    document = load_json(path, hook)
    if not isinstance(document, dict) or not document:
        raise input_error(
            "json-objects-missing",
            f"{path} has no {name}s",
            f"a JSON document of {name}s by number",
            "download it again",
        )
    return [(f"{path.name}, {name} {key}", _object(row)) for key, row in document.items()]


def json_rows(path: Path) -> Placed:
    """Return the objects of a JSON list, or of JSON lines.

    Raises:
        InputError: it is no text, or starts as a list and is none.
    """
    first = next(lines(path), "").lstrip()
    if first.startswith("["):
        return number_rows(path, [_object(row) for row in load_json(path)])
    return ((f"{path.name}, line {n}", _parse_line(line)) for n, line in enumerate(lines(path), 1) if line.strip())


def first_row(rows: Placed) -> Mapping[str, Any]:
    """Return the first row that is one; an empty row without any."""
    return next((row for _, row in rows if not isinstance(row, Unreadable)), {})


def _parse_line(line: str) -> Any:
    try:
        return _object(json.loads(line))
    except (ValueError, RecursionError):
        return Unreadable("no JSON")


def _object(value: Any) -> Any:
    return value if isinstance(value, dict) else Unreadable("no JSON object")


def csv_rows(path: Path, header: Sequence[str] | None = None) -> Placed:
    """Return the rows of a CSV file, or of a TSV file, whose quotes are plain characters (but for QQP's).

    Args:
        path: ends in ``.tsv`` or ``.csv``.
        header: names of the columns, for files whose first line is a row.
    """
    tabs = path.suffix == ".tsv"
    plain = tabs and not {*next(lines(path), "").strip().split("\t")} >= QUOTED
    reader = csv.reader(
        lines(path), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    )
    csv.field_size_limit(LONGEST_CELL)
    try:
        names = list(header or next(reader, []))
        for cells in reader:
            if cells:
                fault = _fault(cells, names, tabs)
                row = Unreadable(fault) if fault else dict(zip(names, cells, strict=True))
                yield f"{path.name}, line {reader.line_num}", row
    except csv.Error as error:
        raise input_error(
            "table-damaged", f"{path} is damaged ({error})", "a table as text", "write it again"
        ) from None


def _fault(cells: Sequence[str], names: Sequence[str], tabs: bool) -> str:
    """Return what is wrong with a row as a whole; nothing when all is right."""
    if len(cells) != len(names):
        return f"{len(cells)} columns, not {len(names)}"
    if tabs and any("\t" in cell and "\n" in cell for cell in cells):
        return "a quote that nothing closes holds the lines after it"
    return ""


@dataclass(frozen=True)
class RowSource:
    """The rows of one split.

    Attributes:
        files: it lies in.
        columns: names.
        rows: given the columns wanted, the rows with their places; images in tables come as :class:`Cell`.
        class_names: of columns that hold numbers of classes.
        total: rows, where that is known beforehand.
    """

    files: tuple[Path, ...]
    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], Placed]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    total: int | None = None


def text_source(paths: Sequence[Path]) -> RowSource:
    """Return a CSV, TSV or JSON file."""
    (path,) = paths
    read = partial(json_rows if path.suffix.startswith(".json") else csv_rows, path)
    return RowSource((path,), tuple(first_row(read())), lambda columns: read())


def stream_source(paths: Sequence[Path]) -> RowSource:
    """Return a split that ``datasets`` saved to disk: memory-mapped arrow streams.

    Raises:
        InputError: a file is damaged.
    """

    def part(path: Path) -> _FileTable:
        with _opened(path, "an arrow stream"):
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
            table.validate(full=True)  # a damaged offset would be followed out of the file, and end the process
        return _FileTable(path, table.schema, table.num_rows, partial(table_rows, path, table), table.column)

    return _source([part(path) for path in paths])


def table_source(paths: Sequence[Path]) -> RowSource:
    """Return a table as METER's and ViLT's converters write it: a memory-mapped arrow file.

    Raises:
        InputError: it is damaged or empty.
    """
    (path,) = paths
    table = read_table(path, ())
    return _source([_FileTable(path, table.schema, table.num_rows, partial(table_rows, path, table), table.column)])


def parquet_source(paths: Sequence[Path]) -> RowSource:
    """Return a split in Parquet files; its images are read by groups of rows, the last few of which are kept.

    Raises:
        InputError: a file is damaged.
    """

    def part(path: Path) -> _FileTable:
        with _opened(path, "a Parquet file"):
            file = pq.ParquetFile(path)
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        starts = tuple(accumulate(sizes, initial=0))
        column = partial(_ParquetColumn, path, starts)
        return _FileTable(path, file.schema_arrow, starts[-1], partial(_parquet_rows, path), column)

    return _source([part(path) for path in paths])


def concatenate(sources: Sequence[RowSource]) -> RowSource:
    """Return several splits with the columns of the first as one."""
    files = tuple(path for source in sources for path in source.files)
    first = sources[0]
    return RowSource(
        files, first.columns, lambda names: chain.from_iterable(s.rows(names) for s in sources), first.class_names
    )


@dataclass(frozen=True)
class _FileTable:
    """One file of a split: its rows of some columns, and its columns of images by name."""

    path: Path
    schema: pa.Schema
    total: int
    rows: Callable[[Sequence[str]], Iterator[dict[str, Any]]]
    column: Callable[[str], Any]


def _source(parts: Sequence[_FileTable]) -> RowSource:
    schema = parts[0].schema
    for part in parts:
        if part.schema.names != schema.names:
            raise input_error(
                "columns-differ",
                f"{part.path} has the columns {', '.join(part.schema.names)}",
                f"those of {parts[0].path.name}: {', '.join(schema.names)}",
                "save the data set again",
            )
    images = {column.name for column in schema if _holds_images(column.type)}

    def rows(names: Sequence[str]) -> Placed:
        for part in parts:
            columns = {name: part.column(name) for name in names if name in images}
            plain = part.rows([name for name in names if name not in images])
            for number, row in enumerate(plain):
                origin = f"the image in row {number} of {part.path}"
                cells = {name: Cell(column, number, origin) for name, column in columns.items()}
                yield f"{part.path.name}, row {number}", row | cells

    files = tuple(part.path for part in parts)
    return RowSource(files, tuple(schema.names), rows, _class_names(schema), sum(part.total for part in parts))


def _holds_images(kind: pa.DataType) -> bool:
    struct = pa.types.is_struct(kind) and any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of label columns, which ``datasets`` keeps in the metadata of its files."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: tuple(feature["names"]) for name, feature in features.items() if "names" in feature}
    except (KeyError, TypeError, ValueError):
        return {}


@dataclass(frozen=True)
class _ParquetColumn:
    """A column whose groups of rows are read when asked for; ``starts`` holds the first row of each."""

    path: Path
    starts: tuple[int, ...]
    name: str

    def __getitem__(self, row: int) -> Any:
        group = bisect_right(self.starts, row) - 1
        return _row_group(self.path, self.name, group)[row - self.starts[group]]


@lru_cache(maxsize=4)
def _row_group(path: Path, name: str, group: int) -> Any:
    return pq.ParquetFile(path).read_row_group(group, columns=[name]).column(0)


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    with _opened(path, "a Parquet file"):
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=list(columns)):
            yield from batch.to_pylist()


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise input_error(
            "not-of-file-type", f"{path} is not {kind} ({reason})", kind, "save or copy it again"
        ) from None

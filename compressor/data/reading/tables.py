"""Rows of tables: arrow files and streams, and Parquet."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from compressor.data.arrow_files import BATCH, open_table, table_rows
from compressor.data.reading.image_refs import cell_of_table, holds_images, may_hold_image
from compressor.data.reading.row_source import RowSource, check_once
from compressor.data.reading.rows import Placed
from compressor.data.reading.signatures import find_signature, read_head
from compressor.errors import first_line, input_error

PARQUET_MARK = b"PAR1"
SHARD = re.compile(r"(.*)-(?P<number>[0-9]{1,9})-of-(?P<of>[0-9]{1,9})\b")


def arrow_source(paths: Sequence[Path]) -> RowSource:
    """Return a split in memory-mapped arrow files or streams: METER's and ViLT's tables, or saved by ``datasets``.

    Raises:
        InputError: a file is damaged, or they have no rows.
    """

    def part(path: Path) -> _FileTable:
        table = open_table(path)
        return _FileTable(path, table.schema, table.num_rows, partial(table_rows, path, table), table.column)

    _check_shards(paths)
    return _source([part(path) for path in paths])


def parquet_source(paths: Sequence[Path]) -> RowSource:
    """Return a split in Parquet files; its images are read by groups of rows, the last few of which are kept.

    Raises:
        InputError: a file is damaged.
    """

    def part(path: Path) -> _FileTable:
        with _opened(path):
            file = pq.ParquetFile(path)
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        starts = tuple(accumulate(sizes, initial=0))
        column = partial(_ParquetColumn, path, starts)
        return _FileTable(path, file.schema_arrow, starts[-1], partial(_parquet_rows, path), column)

    _check_shards(paths)
    return _source([part(path) for path in paths])


def _check_shards(paths: Sequence[Path]) -> None:
    """Check that the parts of a split that was written in parts are all there, each once.

    Raises:
        InputError: one is not, or there are parts of several editions.
    """
    for path in paths:
        if part := SHARD.match(path.name):
            parts = filter(None, (SHARD.match(other.name) for other in path.parent.iterdir()))
            there = {int(other["number"]) for other in parts if other["of"] == part["of"] and other[1] == part[1]}
            lacking = next((number for number in range(int(part["of"])) if number not in there), None)
            if lacking is not None:
                raise input_error(
                    "shard-missing",
                    f"{path} is one of {int(part['of'])} files, of which number {lacking} is not there",
                    "all parts of the split",
                    "download the others; to use these alone, rename them without -of-",
                )
            if len(paths) > int(part["of"]):
                raise input_error(
                    "shards-of-several-editions",
                    f"{', '.join(other.name for other in paths)} in {path.parent} are more than {int(part['of'])}",
                    "the parts of the split, each once",
                    "remove those of other editions",
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
    if not any(part.total for part in parts):
        raise input_error("table-empty", f"{parts[0].path} has no rows", "at least one row", "save the data set again")
    images = {column.name for column in schema if holds_images(column.type)}

    def rows(names: Sequence[str]) -> Placed:
        check_once(parts[0].path, schema.names, names)
        for part in parts:
            plain = part.rows([name for name in names if name not in images])
            columns = {name: part.column(name) for name in names}
            for number, row in enumerate(plain):
                encoded = [name for name in names if name in images or may_hold_image(row[name])]
                origin = f"the image in row {number} of {part.path}"
                cells = {name: cell_of_table(columns[name], number, origin) for name in encoded}
                yield f"{part.path.name}, row {number}", row | cells

    files = tuple(part.path for part in parts)
    return RowSource(files, tuple(schema.names), rows, _class_names(schema), sum(part.total for part in parts))


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of label columns, which ``datasets`` keeps in the metadata of its files."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: tuple(feature["names"]) for name, feature in labels.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
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
    with _opened(path):
        return pq.ParquetFile(path).read_row_group(group, columns=[name]).column(0)


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    with _opened(path):
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=list(columns)):
            if {*batch.schema.names} != {*columns}:
                raise pa.ArrowInvalid(f"its metadata names columns that it lacks, of {', '.join(columns)}")
            yield from batch.to_pylist()


@contextmanager
def _opened(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        other = find_signature(head) if not (head := read_head(path)).startswith(PARQUET_MARK) else None
        raise input_error(
            "not-of-file-type",
            f"{path} is no Parquet file ({other.name if other else first_line(error)})",
            "a Parquet file",
            other.fix if other else "save or copy it again",
        ) from None

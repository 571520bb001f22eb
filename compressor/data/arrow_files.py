"""Arrow tables: opening, writing, and their rows; fingerprints of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from compressor.errors import input_error
from compressor.files import atomic_file

BATCH = 1000  # rows that are Python objects at a time


def read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Memory-map an arrow file and check that it has ``columns``.

    Raises:
        InputError: missing, damaged, empty, or with other columns.
    """
    if not path.exists():
        raise input_error(
            "table-missing",
            f"no file {path}",
            "an arrow table as METER's converter writes it",
            "give its folder: --data",
        )
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)  # a damaged offset would be followed out of the file, and end the process
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise input_error(
            "not-arrow", f"{path} is no arrow file ({reason})", "an arrow IPC file", "convert or copy it again"
        ) from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise input_error(
            "column-missing",
            f"{path} has no column {', '.join(missing)} (it has: {', '.join(table.column_names)})",
            f"the columns {', '.join(columns)}",
            "use the table of this task, written by METER's or ViLT's converter",
        )
    if table.num_rows == 0:
        raise input_error("table-empty", f"{path} has no rows", "at least one row", "convert the data again")
    return table


def table_rows(path: Path, table: pa.Table, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return the rows of a table as Python values, these columns only.

    Raises:
        InputError: cells that cannot be read; ``path`` is named.
    """
    try:
        for batch in table.select(list(columns)).to_batches(max_chunksize=BATCH):
            yield from batch.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise input_error(
            "table-damaged", f"{path} is damaged ({error})", "a readable table", "convert it again"
        ) from None


def write_table(path: Path, columns: dict[str, list[object]]) -> None:
    """Write columns as an arrow IPC file, whole or not at all.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    table = pa.table(columns)
    with (
        atomic_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def fingerprint(path: Path) -> str:
    """Return a digest of a file's size, first and last megabyte: cheap, and changes when the data does."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read())
    return digest.hexdigest()[:16]

"""Arrow tables: opening, writing, and their rows; fingerprints of files."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from compressor.data.reading.signatures import find_signature, read_head
from compressor.errors import first_line, input_error
from compressor.files import atomic_file

BATCH = 1000  # rows that are Python objects at a time
FILE_MARK, STREAM_MARK = b"ARROW1\x00\x00", b"\xff\xff\xff\xff"
HEADER, COMPRESSION = 2, 3  # numbers of fields: in a message, in its batch of rows


def open_table(path: Path) -> pa.Table:
    """Memory-map an arrow file, as METER's and ViLT's converters write it, or a stream, as ``datasets`` does.

    Everything but the images is read once, to see that it is sound.

    Raises:
        InputError: it is neither, or damaged, or compressed in a way that pyarrow reads as nonsense.
    """
    head = read_head(path)
    is_file = head.startswith(FILE_MARK)
    try:
        if _has_lost_compression(path, is_file):
            raise input_error(
                "arrow-compression-lost",
                f"{path} is compressed, and of arrow's metadata version 4, in which nothing says so",
                "an arrow file of version 5, or one that is not compressed",
                "write it again with pyarrow 1.0 or later",
            )
        source = pa.memory_map(str(path))
        table = (pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        other = None if head.startswith((FILE_MARK, STREAM_MARK)) else find_signature(head)
        reason = other.name if other else first_line(error)
        raise input_error(
            "not-arrow",
            f"{path} is no arrow file or stream ({reason})",
            "an arrow IPC file or stream",
            other.fix if other else "convert or copy it again",
        ) from None
    return table


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
    table = open_table(path)
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


def _has_lost_compression(path: Path, is_file: bool) -> bool:
    """Return whether the batches are compressed where the reader does not look: it takes the bytes as they are."""
    with pa.memory_map(str(path)) as source:
        messages = source.read_buffer().slice(len(FILE_MARK) if is_file else 0)
        reader = iter(pa.ipc.MessageReader.open_stream(messages))
        schema = next(reader, None)
        if schema is None or schema.metadata_version != pa.ipc.MetadataVersion.V4:
            return False
        batch = next((message for message in reader if message.type == "record batch"), None)
        return batch is not None and _names_codec(batch.metadata.to_pybytes())


def _names_codec(message: bytes) -> bool:
    """Return whether the metadata of a batch has arrow's field ``compression`` (Message.fbs, a Flatbuffer)."""

    def read(kind: str, at: int) -> int:
        return int(struct.unpack_from(f"<{kind}", message, at)[0])

    def find(table: int, number: int) -> int:
        """Return where a field of a Flatbuffer's table lies; 0 where it has none."""
        layout = table - read("i", table)
        entry = 4 + 2 * number
        offset = read("H", layout + entry) if entry < read("H", layout) else 0
        return table + offset if offset else 0

    header = find(read("I", 0), HEADER)
    return find(header + read("I", header), COMPRESSION) > 0


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
    """Return a digest of a file's size, first and last megabyte: cheap, and changes when the data does.

    Of a folder it is of the paths and sizes of the files below it.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = "".join(f"{file.relative_to(path)} {file.stat().st_size}\n" for file in files)
        return hashlib.sha256(listed.encode()).hexdigest()[:16]
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read())
    return digest.hexdigest()[:16]

"""Tables as people have them: arrow files and streams, Parquet, and what goes by their names."""

import io

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put, tell, write_tables

TABLE = pa.table({"sentence": [f"text {n % 7}" for n in range(300)], "label": [n % 2 for n in range(300)]})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def arrow(make=pa.ipc.new_stream, table=TABLE, **options):
    """The bytes of an arrow stream or file."""
    sink = io.BytesIO()
    with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


def written(write):
    sink = io.BytesIO()
    write(TABLE, sink)
    return sink.getvalue()


def sentences(root):
    return read_data(root, "text-classification").splits["train"]


@pytest.mark.parametrize("name", ["{}.parquet", "data/{}-0000{}-of-00002.parquet"])
def test_images_in_parquet_are_read_by_row_groups(tmp_path, name):
    rows = [{"image": {"bytes": png(n), "path": f"{n}.png"}, "caption": str(n)} for n in range(7)]
    rows[5]["image"]["bytes"] = b"nonsense"
    for part, some in enumerate((rows[:4], rows[4:]) if "of" in name else (rows,)):
        path = tmp_path / name.format("train", part)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(some), path, row_group_size=2)
    train = read_data(tmp_path, "irtr").splits["train"]
    assert first_images(train) == [png(n) for n in (0, 1, 2, 3, 4, 6)]
    assert len(train.unreadable) == 1


@pytest.mark.parametrize(
    "content",
    [
        arrow(),
        arrow(pa.ipc.new_file),
        arrow(compression="lz4"),
        arrow(pa.ipc.new_file, compression="zstd"),
        arrow(metadata_version=pa.ipc.MetadataVersion.V4),
        arrow(pa.ipc.new_file, metadata_version=pa.ipc.MetadataVersion.V4),
        arrow(use_legacy_format=True, metadata_version=pa.ipc.MetadataVersion.V4),
        written(lambda table, sink: pyarrow.feather.write_feather(table, sink)),
    ],
    ids=["stream", "file", "lz4", "zstd file", "version 4", "version 4 file", "old stream", "feather"],
)
def test_arrow_files_and_streams_are_both_read(tmp_path, content):
    put(tmp_path / "train" / "data-00000-of-00001.arrow", content)
    expected = [(text, None, (n % 2,)) for n, text in enumerate(TABLE["sentence"].to_pylist())]
    assert tell(sentences(tmp_path)) == expected


@pytest.mark.parametrize("make", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compression_that_the_reader_would_not_see_is_refused(tmp_path, make, codec):
    content = arrow(make, compression=codec, metadata_version=pa.ipc.MetadataVersion.V4)
    put(tmp_path / "train" / "data-00000-of-00001.arrow", content)
    with refused(InputError, "arrow-compression-lost", "data-00000-of-00001.arrow", "version 4"):
        sentences(tmp_path)


def test_meters_tables_may_be_streams(tmp_path):
    write_tables(tmp_path, train=3)
    path = tmp_path / "vqav2_train.arrow"
    before = read_data(tmp_path, "vqa").splits["train"]
    content = arrow(table=pa.ipc.open_file(path.read_bytes()).read_all())
    path.unlink()  # the memory map of the file stays what it was
    path.write_bytes(content)
    train = read_data(tmp_path, "vqa").splits["train"]
    assert tell(train) == tell(before)
    assert first_images(train) == first_images(before)


OTHERS = {
    "pointer": (LFS, "git lfs pull"),
    "page": (b"<!DOCTYPE html><title>404</title>", "a web page"),
    "Feather 1": (written(lambda t, sink: pyarrow.feather.write_feather(t, sink, version=1)), "Feather file"),
    "ORC": (written(pyarrow.orc.write_table), "an ORC file"),
    "empty": (b"", "empty"),
    "text": (b"not arrow", "save or copy|convert or copy"),
}
ARROW = "train/data-00000-of-00001.arrow"


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("name", "code"), [(ARROW, "not-arrow"), ("train.parquet", "not-of-file-type")])
def test_what_goes_by_the_name_of_a_table_is_said(tmp_path, other, name, code):
    content, said = OTHERS[other]
    put(tmp_path / name, content)
    with refused(InputError, code, tmp_path / name) as error:
        sentences(tmp_path)
    assert any(part in str(error.value) for part in said.split("|"))


def test_a_table_of_the_other_kind_is_named(tmp_path):
    put(tmp_path / ARROW, written(pq.write_table))
    with refused(InputError, "not-arrow", "a Parquet file"):
        sentences(tmp_path)
    (tmp_path / ARROW).unlink()
    put(tmp_path / "train.parquet", arrow())
    with refused(InputError, "not-of-file-type", "an arrow stream"):
        sentences(tmp_path)


@pytest.mark.parametrize("make", [pa.ipc.new_stream, pa.ipc.new_file])
def test_a_file_that_is_cut_short_is_refused(tmp_path, make):
    content = arrow(make)
    for size in (len(content) // 2, len(content) - 40):
        put(tmp_path / ARROW, content[:size] if make is pa.ipc.new_file else content[: size - 100])
        with refused(InputError, "not-arrow", "data-00000-of-00001.arrow"):
            sentences(tmp_path)


def test_offsets_beyond_the_end_are_refused(tmp_path):
    content = bytearray(arrow())
    offset = bytes(content).index((6 * 99).to_bytes(4, "little") + (600).to_bytes(4, "little"))
    content[offset : offset + 4] = (1 << 30).to_bytes(4, "little")
    put(tmp_path / ARROW, bytes(content))
    with refused(InputError, "not-arrow", "data-00000-of-00001.arrow"):
        sentences(tmp_path)


@pytest.mark.parametrize("name", [ARROW, "train.parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path, name):
    twice = pa.Table.from_arrays([TABLE["sentence"], TABLE["label"], TABLE["label"]], ["sentence", "label", "label"])
    put(tmp_path / name, arrow(table=twice) if name == ARROW else b"")
    if name != ARROW:
        pq.write_table(twice, tmp_path / name)
    with refused(InputError, "column-twice", "2 columns called label"):
        sentences(tmp_path)


@pytest.mark.parametrize("name", ["train/data-{:05}-of-00003.arrow", "data/train-{:05}-of-00003-0a1b.parquet"])
def test_a_split_without_one_of_its_parts_is_refused(tmp_path, name):
    for part in range(3):
        path = tmp_path / name.format(part)
        put(path, arrow())
        if path.suffix == ".parquet":
            pq.write_table(TABLE, path)
    assert len(sentences(tmp_path).samples) == 900
    (tmp_path / name.format(1)).unlink()
    with refused(InputError, "shard-missing", "one of 3 files", "number 1 is not there"):
        sentences(tmp_path)


@pytest.mark.parametrize("name", [ARROW, "train.parquet"])
def test_a_table_without_rows_is_refused(tmp_path, name):
    put(tmp_path / name, arrow(table=TABLE[:0]))
    if name != ARROW:
        pq.write_table(TABLE[:0], tmp_path / name)
    with refused(InputError, "table-empty", name):
        sentences(tmp_path)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_of_any_type(tmp_path, kind):
    texts = TABLE["sentence"].combine_chunks()
    texts = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind)
    put(tmp_path / ARROW, arrow(table=pa.table({"sentence": texts, "label": TABLE["label"]})))
    assert [sample.text for sample in sentences(tmp_path).samples] == TABLE["sentence"].to_pylist()

"""Images as cells and files hold them."""

import base64
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from compressor.data.read_data import read_data
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.rows import NoImage, Unreadable
from tests.support.data_files import first_images, png, put

IMAGES = [png(n, "BMP") for n in range(3)]
TEXTS = [base64.b64encode(image).decode() for image in IMAGES]
CAPTIONS = ["one", "two", "three"]


def write(path, table):
    """Write a table by the suffix: Parquet of two groups of rows, or an arrow file or stream of two batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        make = pa.ipc.new_file if path.suffix == ".file" else pa.ipc.new_stream
        with pa.OSFile(str(path.with_suffix(".arrow")), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)


def captions(root):
    return read_data(root, "irtr").splits["train"]


FORMS = ["train.parquet", "train/data-00000-of-00001.stream", "train/data-00000-of-00001.file"]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        *((kind, IMAGES) for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(246))),
        (pa.dictionary(pa.int32(), pa.binary()), IMAGES),
        (pa.list_(pa.uint8()), [list(image) for image in IMAGES]),
        (pa.list_(pa.int64()), [list(image) for image in IMAGES]),
        (STRUCT, [{"bytes": image, "path": "elsewhere.png"} for image in IMAGES]),
        (pa.list_(STRUCT), [[{"bytes": image, "path": None}] for image in IMAGES]),
        *((kind, TEXTS) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    ],
)
def test_every_type_of_column_gives_the_same_images(tmp_path, form, kind, cells):
    if "view" in str(kind) and form.endswith("parquet"):
        cells, kind = cells, {"binary_view": pa.binary(), "string_view": pa.string()}[str(kind)]
    if not (form.endswith("parquet") and pa.types.is_dictionary(kind)):
        column = pa.array(cells, kind) if not pa.types.is_dictionary(kind) else pa.array(cells).dictionary_encode()
        write(tmp_path / form, pa.table({"caption": CAPTIONS, "image": column}))
        train = captions(tmp_path)
        assert train.unreadable == ()
        assert first_images(train) == IMAGES


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "cell", "said"),
    [
        (pa.null(), None, "no image"),
        (pa.binary(), None, "no image"),
        (STRUCT, {"bytes": None, "path": "/home/me/a.png"}, "no image /home/me/a.png"),
        (pa.int64(), 7, "the image is given as int"),
        (pa.string(), "https://there.org/a.png", "the image is an address, https://there.org/a.png: download it"),
    ],
)
def test_cells_without_an_image_say_what_they_hold(tmp_path, form, kind, cell, said):
    write(tmp_path / form, pa.table({"caption": CAPTIONS, "image": pa.array([cell] * 3, kind)}))
    train = captions(tmp_path)
    assert not train.samples
    assert len(train.unreadable) == 3
    assert f"row 2: {said}" in train.unreadable[2]


@pytest.mark.parametrize("form", FORMS)
def test_images_that_share_their_size_and_both_ends_are_two(tmp_path, form):
    pages = []
    for middle in (1, 2, 1):
        page = np.full((300, 240, 3), 255, dtype=np.uint8)
        page[150] = middle
        file = io.BytesIO()
        Image.fromarray(page).save(file, "BMP")
        pages.append(file.getvalue())
    write(tmp_path / form, pa.table({"caption": CAPTIONS, "image": pages}))
    first, second, third = (sample.images[0] for sample in captions(tmp_path).samples)
    assert first is third
    assert first is not second
    assert [image.read() for image in (first, second, third)] == pages


def wrapped(text):
    return "\n".join(text[i : i + 76] for i in range(0, len(text), 76))


@pytest.mark.parametrize(
    "spelling",
    [
        lambda text: text,
        lambda text: f"data:image/png;base64,{text}",
        lambda text: text.translate(str.maketrans("+/", "-_")),
        lambda text: text.rstrip("="),
        wrapped,
    ],
    ids=["plain", "data", "for addresses", "without padding", "in lines"],
)
@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.jsonl", "train.json"])
def test_base64_is_an_image(tmp_path, name, spelling):
    noise = np.random.default_rng(0).integers(0, 256, 900, dtype=np.uint8).tobytes()  # every letter comes
    images = [image + noise for image in IMAGES]
    rows = [
        {"caption": caption, "image": spelling(base64.b64encode(image).decode())}
        for caption, image in zip(("eins, zwei", "drei", "für"), images, strict=True)
    ]
    if name.endswith(".tsv") and "\n" in rows[0]["image"]:
        rows = [row | {"image": row["image"].replace("\n", " ")} for row in rows]
    quote = '"' if name.endswith(".csv") else ""
    separator = "," if quote else "\t"
    lines = ["\ufeffcaption" + separator + "image"]
    lines += [separator.join(f"{quote}{cell}{quote}" for cell in row.values()) for row in rows]
    content = "\r\n".join(lines) if "sv" in name else rows if name.endswith("l") else json.dumps(rows)
    path = tmp_path / name
    path.write_bytes(content.encode()) if isinstance(content, str) else put(path, content)
    train = captions(tmp_path)
    assert train.unreadable == ()
    assert [sample.text for sample in train.samples] == [row["caption"] for row in rows]
    assert first_images(train) == images


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (TEXTS[0][:60] + "!" + TEXTS[0][60:], "base64 is damaged"),
        ("data:image/svg+xml,%3Csvg", "not as base64"),
        ("a" * 5000, "neither a path nor an encoded image ('aaaaaaaaaaaaaaaaaaaa'..., 5000 characters)"),
        ("b" * 300, "no image bbb"),
        ("s3://bucket/a.png", "the image is an address"),
        ("a\0b", "no image a"),
        (["a.png", "b.png"], "given as list"),
        (7, "given as int"),
        ("", "no image"),
    ],
)
def test_what_is_neither_a_path_nor_an_image_says_so(tmp_path, cell, said):
    put(tmp_path / "train.jsonl", [{"caption": "one", "image": cell}])
    (reason,) = captions(tmp_path).unreadable
    assert said in reason


def test_json_may_hold_bytes_as_datasets_writes_them(tmp_path):
    put(tmp_path / "a.png", IMAGES[1])
    cells = [{"bytes": TEXTS[0], "path": None}, {"bytes": None, "path": "a.png"}, ["a.png"]]
    put(tmp_path / "train.jsonl", [{"caption": "one", "image": cell} for cell in cells])
    assert first_images(captions(tmp_path)) == [IMAGES[0], IMAGES[1], IMAGES[1]]


class TestLinks:
    """A folder of images is often a link to where they really lie."""

    def test_a_folder_behind_a_link_is_found_and_a_circle_ends(self, tmp_path):
        put(tmp_path / "elsewhere" / "train2014" / "a.jpg", IMAGES[0])
        root = tmp_path / "data"
        root.mkdir()
        (root / "train2014").symlink_to(tmp_path / "elsewhere" / "train2014")
        (root / "images").symlink_to(tmp_path / "elsewhere")  # the same files once more
        (tmp_path / "elsewhere" / "up").symlink_to(root)
        assert ImageFiles(root).named("a.jpg").read() == IMAGES[0]

    def test_two_links_to_a_file_are_one_image(self, tmp_path):
        put(tmp_path / "a.jpg", IMAGES[0])
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "a.jpg").symlink_to(tmp_path / "a.jpg")
        assert ImageFiles(tmp_path).named("a.jpg").read() == IMAGES[0]

    def test_links_to_nothing_are_said(self, tmp_path):
        (tmp_path / "train2014").symlink_to(tmp_path / "gone")
        with pytest.raises(NoImage, match=r"no image a\.jpg \(train2014 is a link to nothing\)"):
            ImageFiles(tmp_path).named("a.jpg")
        (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
        put(tmp_path / "train.jsonl", [{"caption": "one", "image": "a.jpg"}])
        assert "a.jpg is a link to nothing" in captions(tmp_path).unreadable[0]


@pytest.mark.parametrize("there", ["images/a.JPG", "sub/a.jpg", "a.jpeg"])
def test_a_file_that_is_called_nearly_so_is_named_and_not_taken(tmp_path, there):
    put(tmp_path / there, IMAGES[0])
    with pytest.raises(NoImage, match=f"no image x/a.jpg \\(there is {there}\\)"):
        ImageFiles(tmp_path).at("x/a.jpg")


def test_two_files_of_one_name_are_not_chosen_from(tmp_path):
    put(tmp_path / "one" / "a.jpg", IMAGES[0])
    put(tmp_path / "two" / "a.jpg", IMAGES[1])
    with pytest.raises(Unreadable, match=r"2 files are called a\.jpg"):
        ImageFiles(tmp_path).named("a.jpg")


def test_paths_of_windows(tmp_path):
    put(tmp_path / "images" / "a" / "0.png", png(3))
    put(tmp_path / "images" / "b\\0.png", png(4))
    files = ImageFiles(tmp_path)
    for place, shade in (("a\\0.png", 3), ("images\\a\\0.png", 3), ("b\\0.png", 4)):
        assert files.at(place).read() == png(shade)
    with pytest.raises(Unreadable, match=r"no image c\\0\.png"):
        files.at("c\\0.png")

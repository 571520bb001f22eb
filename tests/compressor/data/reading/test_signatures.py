"""What files hold, by their first bytes."""

import io

import pytest
from PIL import Image

from compressor.data.reading.signatures import find_signature, find_text_signature, is_image, wide_encoding


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_images_are_told_from_everything_else(encoding):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, encoding)
    assert is_image(buffer.getvalue()[:16])
    assert find_signature(buffer.getvalue()).name.replace(" ", "").lower().find(encoding.lower()) >= 0
    assert not is_image(b"BM25, a ranking function")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"ARROW1\x00\x00", "an arrow file"),
        (b"PAR1", "a Parquet file"),
        (b"FEA1", "Feather file of version 1"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_other_files_are_named(head, name):
    assert name in find_signature(head).name


@pytest.mark.parametrize("head", [b"text,label\n", b"version,label\n", b"<s> text\n", b"BM,PK\n"])
def test_text_is_text(head):
    assert find_text_signature(head) is None
    assert wide_encoding(head) is None


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"), ("utf-32", "UTF-32"), ("utf-8-sig", None)],
)
def test_wide_encodings_are_told(encoding, said):
    assert wide_encoding("text,label\n".encode(encoding)) == said

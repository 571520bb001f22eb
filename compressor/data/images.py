"""Decoding of images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from compressor.data.reading.signatures import HEAD, find_signature
from compressor.data.types import ImageRef
from compressor.errors import input_error

GREY_16 = (("I", "PNG"), ("I", "PPM"))  # have 16 bits; elsewhere numbers of mode I have 32
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # tags of TIFF


def why_not_decoded(image: ImageRef) -> str:
    """Return why an image cannot be read or decoded; nothing where it can."""
    try:
        content = image.read()
    except FileNotFoundError as error:
        return "is a link to nothing" if error.filename and Path(error.filename).is_symlink() else "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.draft("RGB", (1, 1))  # JPEG decodes several times faster at an eighth of its size
            opened.load()
            _to_rgb(opened.crop((0, 0, 1, 1)), opened)
    except Exception as error:  # Pillow raises anything on damaged bytes
        return f"does not decode ({_reason(error, content)})"
    return ""


def decode_image(content: bytes, origin: str) -> Image.Image:
    """Return the image in ``content``, as RGB; of an animation the first frame.

    As in METER's, ViLT's and transformers' own code, transparency is dropped and EXIF's orientation is not applied.

    Raises:
        InputError: the bytes are no image; ``origin`` says where they came from.
    """
    try:
        opened = Image.open(io.BytesIO(content))
        return _to_rgb(opened, opened)
    except Exception as error:  # Pillow raises anything on damaged bytes, SyntaxError included
        raise input_error(
            "image-does-not-decode",
            f"{origin} does not decode ({_reason(error, content)})",
            "PNG, JPEG or another image Pillow reads",
            "replace the image",
        ) from None


def _to_rgb(pixels: Image.Image, opened: Image.Image) -> Image.Image:
    """Return pixels of an opened image as RGB; 16 bits of grey become 8, where Pillow's conversion cuts them at 255.

    Raises:
        ValueError: nothing says which of its values is white.
    """
    if pixels.mode.startswith(("I", "F")):
        black, white = _grey_range(opened)
        grey = (np.asarray(pixels, dtype=np.float64) - black) * (255 / (white - black))
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if pixels.mode == "P" and "transparency" in pixels.info:
        pixels = pixels.convert("RGBA")  # the same colours; Pillow warns of the direct way
    return pixels.convert("RGB")


def _grey_range(opened: Image.Image) -> tuple[int, int]:
    """Return which values of a grey image are black and white.

    Raises:
        ValueError: nothing says so: the numbers have 32 bits, or signs.
    """
    if not opened.mode.startswith("I;16") and (opened.mode, opened.format) not in GREY_16:
        raise ValueError("nothing says which of its values is white: save it with 8 or 16 bits a channel")
    tags = getattr(opened, "tag_v2", {})  # of TIFF, which has 12 bits, and negatives, too
    white = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    return (white, 0) if tags.get(PHOTOMETRIC) == 0 else (0, white)


def _reason(error: Exception, content: bytes) -> str:
    """Return why Pillow refused content: what it is instead of an image, else Pillow's own words."""
    other = find_signature(content[:HEAD]) if isinstance(error, UnidentifiedImageError) else None
    return f"it is {other.name}" if other else str(error).split(" <")[0] or type(error).__name__

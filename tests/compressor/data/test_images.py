"""Image transforms, and images that do not decode."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from compressor.data.images import decode_image, why_not_decoded
from compressor.data.types import ImageRef
from compressor.errors import InputError
from compressor.families.image_transforms import ClipTransform
from tests.support.command_line import refused

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (48, 48), (20, 31)])
def test_the_image_transform_is_clips(width, height):
    image, size = picture(width, height), 24
    scale = size / min(width, height)
    resized = image.resize((max(size, int(width * scale)), max(size, int(height * scale))), Image.Resampling.BICUBIC)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    cropped = np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    expected = torch.from_numpy(((cropped - MEAN) / STD).transpose(2, 0, 1)).float()
    torch.testing.assert_close(ClipTransform(size)(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_become_rgb(mode):
    buffer = io.BytesIO()
    picture(20, 20).convert(mode).save(buffer, "TIFF")
    assert decode_image(buffer.getvalue(), "a test").mode == "RGB"


def encoded(image=None, encoding="PNG", **options):
    buffer = io.BytesIO()
    (image or picture(30, 30)).save(buffer, encoding, **options)
    return buffer.getvalue()


def pixels(content):
    """What is decoded, (h, w, 3); the check before the work agrees that it decodes."""
    assert why_not_decoded(ImageRef("a test", lambda: content)) == ""
    return np.asarray(decode_image(content, "a test")).astype(int)


GREY = np.random.default_rng(1).integers(0, 256, (7, 9), dtype=np.uint8)


def big_endian(values):
    return Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())


def white_is_zero(values):
    """A grey TIFF of 16 bits whose tag 262 says that 0 is white."""
    tag = (262).to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00"
    content = encoded(Image.fromarray(65535 - values), "TIFF")
    return content.replace(tag + b"\x01", tag + b"\x00")


@pytest.mark.parametrize(
    "make",
    [
        *(lambda x, name=name: encoded(Image.fromarray(x), name) for name in ("PNG", "TIFF", "PPM")),
        lambda x: encoded(big_endian(x), "TIFF"),
        white_is_zero,
    ],
)
def test_16_bits_of_grey_are_those_of_8(make):
    values = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(pixels(make(values)), GREY[..., None].repeat(3, axis=2))
    finer = values - (values > 200) * np.uint16(100)  # between two of 8 bits
    assert abs(pixels(make(finer))[..., 0] - GREY).max() <= 1


def test_16_bits_of_colour_are_those_of_8():
    colours = np.random.default_rng(2).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    wide = b"P6 4 3 65535\n" + (colours.astype(">u2") * 257).tobytes()
    np.testing.assert_array_equal(pixels(wide), colours)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_without_a_white_is_no_image(kind):
    content = encoded(Image.fromarray(GREY.astype(kind)), "TIFF")
    assert "white" in why_not_decoded(ImageRef("a test", lambda: content))
    with refused(InputError, "image-does-not-decode", "which of its values is white", "8 or 16 bits"):
        decode_image(content, "a test")


def test_transparency_is_dropped_as_pillow_drops_it(recwarn):
    image = picture(6, 5)
    for mode in ("RGBA", "LA"):
        hidden = image.convert(mode)
        hidden.putalpha(Image.new("L", image.size, 0))
        np.testing.assert_array_equal(pixels(encoded(hidden)), np.asarray(image.convert(mode).convert("RGB")))
    palette = image.quantize(8)
    np.testing.assert_array_equal(pixels(encoded(palette, transparency=bytes(8))), np.asarray(palette.convert("RGB")))
    assert not recwarn.list


def test_colours_for_print_are_not_inverted():
    plain = Image.new("RGB", (16, 16), (250, 10, 60))
    assert abs(pixels(encoded(plain.convert("CMYK"), "JPEG", quality=95)) - (250, 10, 60)).max() <= 8


def test_an_image_lies_as_its_pixels_do():
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned by a right angle
    assert pixels(encoded(picture(16, 8), "JPEG", exif=exif)).shape == (8, 16, 3)


@pytest.mark.parametrize("encoding", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation_counts(encoding):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = encoded(frames[0], encoding, save_all=True, append_images=frames[1:], duration=9)
    assert abs(pixels(content) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("seed", range(30))
def test_damaged_images_are_input_errors(seed):
    rng, content = np.random.default_rng(seed), bytearray(encoded())
    for place in rng.integers(8, len(content), 20):  # past the signature: Pillow takes it for a PNG
        content[place] = rng.integers(256)
    with refused(InputError, "image-does-not-decode", "a test"):
        decode_image(bytes(content), "a test")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "a HEIC image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (encoded(encoding="JPEG")[:-99], "truncated"),
    ],
)
def test_what_is_there_in_place_of_an_image_is_said(content, said):
    assert said in why_not_decoded(ImageRef("a test", lambda: content))
    with refused(InputError, "image-does-not-decode", said):
        decode_image(content, "a test")


@pytest.mark.parametrize("content", [b"", "text", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dXXXX" + b"\x00" * 20])
def test_what_is_no_image_is_an_input_error(content):
    with refused(InputError, "image-does-not-decode", "a test"):
        decode_image(content, "a test")

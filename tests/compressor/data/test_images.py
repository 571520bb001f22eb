"""Image transforms, and images that do not decode."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from compressor.data.images import ClipTransform, decode_image
from compressor.errors import InputError
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


def encoded():
    buffer = io.BytesIO()
    picture(30, 30).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("seed", range(30))
def test_damaged_images_are_input_errors(seed):
    rng, content = np.random.default_rng(seed), bytearray(encoded())
    for place in rng.integers(8, len(content), 20):  # past the signature: Pillow takes it for a PNG
        content[place] = rng.integers(256)
    with refused(InputError, "image-does-not-decode", "a test"):
        decode_image(bytes(content), "a test")


@pytest.mark.parametrize("content", [None, b"", "text", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dXXXX" + b"\x00" * 20])
def test_what_is_no_image_is_an_input_error(content):
    with refused(InputError, "image-does-not-decode", "a test"):
        decode_image(content, "a test")

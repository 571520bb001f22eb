"""The image transforms of the families, and decoding."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from compressor.data.types import ImageRef
from compressor.errors import input_error

LONGEST_OVER_SHORTER = 1333 / 800
MULTIPLE = 32  # pixels: the patch of ViT-B/32


class ClipTransform:
    """METER's ``clip``: shorter side to ``size`` (bicubic), centre crop, CLIP's mean and deviation.

    Args:
        size: pixels of the square that the model sees.
    """

    def __init__(self, size: int) -> None:
        self.size, self.sides = size, (size, size)
        self.processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image of any size as (3, size, size) float32."""
        return self.processor(image, return_tensors="pt")["pixel_values"][0].to(torch.float32)

    def collate(self, pixels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return ``pixel_values`` (B, 3, size, size)."""
        return {"pixel_values": torch.stack(list(pixels))}

    def describe(self) -> dict[str, Any]:
        """Return the name and the size, for preprocessor.json."""
        return {"transform": "clip", "size": self.size}


class PixelbertTransform:
    """ViLT's ``pixelbert``: the whole image, resized with its aspect ratio, pixels in [-1, 1].

    Args:
        shorter: pixels of the shorter side; the longer one is at most 1333/800 of it.
    """

    def __init__(self, shorter: int) -> None:
        self.shorter = shorter
        self.sides = MULTIPLE, max(int(LONGEST_OVER_SHORTER * shorter) // MULTIPLE * MULTIPLE, MULTIPLE)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image of any size as (3, h, w) float32, h and w multiples of 32 and at least 32."""
        resized = image.resize(self.fit(image.width, image.height), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized, dtype=np.float32)).permute(2, 0, 1)
        return (pixels / 255 - 0.5) / 0.5

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image of this size is resized to."""
        longest = int(LONGEST_OVER_SHORTER * self.shorter)
        short, long = float(self.shorter), self.shorter / min(width, height) * max(width, height)
        shrink = min(1.0, longest / long)
        short, long = (max(int(shrink * side + 0.5) // MULTIPLE * MULTIPLE, MULTIPLE) for side in (short, long))
        return (short, long) if width < height else (long, short)

    def collate(self, pixels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Pad at the right and the bottom to the largest height and width of the batch.

        Returns:
            ``pixel_values`` (B, 3, H, W), padded with zeros, and ``pixel_mask`` (B, H, W) int64, 1 = image.
        """
        height, width = (max(image.shape[side] for image in pixels) for side in (1, 2))

        def pad(image: Tensor) -> Tensor:
            return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))

        return {
            "pixel_values": torch.stack([pad(image) for image in pixels]),
            "pixel_mask": torch.stack([pad(torch.ones_like(image[0], dtype=torch.int64)) for image in pixels]),
        }

    def describe(self) -> dict[str, Any]:
        """Return the name and the sizes, for preprocessor.json."""
        return {"transform": "pixelbert", "shorter": self.shorter, "multiple": MULTIPLE}


def decodes(image: ImageRef) -> bool:
    """Return whether an image can be read and decoded."""
    try:
        with Image.open(io.BytesIO(image.read())) as opened:
            opened.draft("RGB", (1, 1))  # JPEG decodes several times faster at an eighth of its size
            opened.load()
    except Exception:  # Pillow raises anything on damaged bytes
        return False
    return True


def decode_image(content: bytes, origin: str) -> Image.Image:
    """Return the image in ``content``, as RGB.

    Raises:
        InputError: the bytes are no image; ``origin`` says where they came from.
    """
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except Exception as error:  # Pillow raises anything on damaged bytes, SyntaxError included
        reason = str(error).split(" <")[0] or type(error).__name__
        raise input_error(
            "image-does-not-decode",
            f"{origin} does not decode ({reason})",
            "PNG, JPEG or another image Pillow reads",
            "replace the image",
        ) from None

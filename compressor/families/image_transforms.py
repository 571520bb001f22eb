"""The image transforms of the families, by transformers' image processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import ChannelDimension, SizeDict
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil, get_resize_output_image_size

LONGEST_OVER_SHORTER = 1333 / 800
NOTHING: Mapping[str, Any] = {}


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

    def library_settings(self) -> dict[str, Any]:
        """Return what transformers' preprocessor_config.json says of it."""
        return _settings_of(self.processor, "CLIPImageProcessor")


class PixelbertTransform:
    """ViLT's ``pixelbert``: the whole image, resized with its aspect ratio, by default with pixels in [-1, 1].

    Args:
        shorter: pixels of the shorter side; the longer one is at most 1333/800 of it.
        settings: further ones of transformers' image processor, whose defaults are ViLT's own.
    """

    def __init__(self, shorter: int, settings: Mapping[str, Any] = NOTHING) -> None:
        self.shorter, self.settings = shorter, dict(settings)
        self.processor = _ViltProcessor(size={"shortest_edge": shorter}, **self.settings)
        multiple = self.processor.size_divisor
        self.sides = multiple, max(int(LONGEST_OVER_SHORTER * shorter) // multiple * multiple, multiple)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image of any size as (3, h, w) float32, h and w multiples of the size divisor, 32."""
        return self.processor(image, return_tensors="pt")["pixel_values"][0].to(torch.float32)

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
        return {"transform": "pixelbert", "shorter": self.shorter, **self.settings}

    def library_settings(self) -> dict[str, Any]:
        """Return what transformers' preprocessor_config.json says of it."""
        return _settings_of(self.processor, "ViltImageProcessor")


def _settings_of(processor: PilBackend, kind: str) -> dict[str, Any]:
    """Return the settings of a processor as JSON holds them; ``kind`` is the library's name for all its backends."""
    settings = {**processor.to_dict(), "image_processor_type": kind}
    return {name: int(value) if name == "resample" else value for name, value in settings.items()}


class _ViltProcessor(ViltImageProcessorPil):
    """ViLT's, which also takes images so narrow that no multiple of the divisor is left of a side: one is."""

    def resize(
        self, image: np.ndarray, size: SizeDict, resample: Any = None, size_divisor: int | None = None
    ) -> np.ndarray:
        shorter, multiple = size.shortest_edge, size_divisor or self.size_divisor
        longest = int(LONGEST_OVER_SHORTER * shorter)
        sides = get_resize_output_image_size(image, shorter, longest, multiple, ChannelDimension.FIRST)
        height, width = (max(side, multiple) for side in sides)
        return PilBackend.resize(self, image, SizeDict(height=height, width=width), resample)

"""The image transforms of the families: what transformers' image processors do, which take seconds to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.image_transforms import center_crop, get_resize_output_image_size, normalize, rescale
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ChannelDimension

from compressor.architectures.vilt import PixelSettings
from compressor.families.image_settings import ImageSettings, make_processor

LONGEST_OVER_SHORTER = 1333 / 800
NOTHING: Mapping[str, Any] = {}
CLIP = PixelSettings(image_mean=OPENAI_CLIP_MEAN, image_std=OPENAI_CLIP_STD)
LAST = ChannelDimension.LAST


class ClipTransform:
    """METER's ``clip``: shorter side to ``size`` (bicubic), centre crop, CLIP's mean and deviation.

    Args:
        size: pixels of the square that the model sees.
    """

    def __init__(self, size: int) -> None:
        self.size, self.sides = size, (size, size)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image of any size as (3, size, size) float32."""
        sides = get_resize_output_image_size(
            np.asarray(image), self.size, default_to_square=False, input_data_format=LAST
        )
        cropped = center_crop(_resize(image, sides, CLIP), self.sides, input_data_format=LAST)
        return _to_tensor(cropped, CLIP)

    def collate(self, pixels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return ``pixel_values`` (B, 3, size, size)."""
        return {"pixel_values": torch.stack(list(pixels))}

    def describe(self) -> dict[str, Any]:
        """Return the name and the size, for preprocessor.json."""
        return {"transform": "clip", "size": self.size}

    def library_settings(self) -> dict[str, Any]:
        """Return what transformers' preprocessor_config.json says of it."""
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        square = {"height": self.size, "width": self.size}
        processor = CLIPImageProcessorPil(size={"shortest_edge": self.size}, crop_size=square)
        return _settings_of(processor, "CLIPImageProcessor")


class ProcessorTransform:
    """One of transformers' image processors, with whatever settings make a square.

    Args:
        settings: what it does.
    """

    def __init__(self, settings: ImageSettings) -> None:
        self.settings, self.sides = settings, (settings.side, settings.side)
        said = settings.model_dump(exclude={"image_processor_type"}, exclude_none=True)
        self.processor = make_processor(settings.image_processor_type, said)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image of any size as (3, side, side) float32."""
        return torch.from_numpy(self.processor(image, return_tensors="np")["pixel_values"][0]).float()

    def collate(self, pixels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return ``pixel_values`` (B, 3, side, side)."""
        return {"pixel_values": torch.stack(list(pixels))}

    def describe(self) -> dict[str, Any]:
        """Return the settings, for preprocessor.json."""
        return {"transform": "processor", **self.settings.model_dump()}

    def library_settings(self) -> dict[str, Any]:
        """Return what transformers' preprocessor_config.json says of it."""
        return _settings_of(self.processor, self.settings.image_processor_type)


class PixelbertTransform:
    """ViLT's ``pixelbert``: the whole image, resized with its aspect ratio, by default with pixels in [-1, 1].

    Args:
        shorter: pixels of the shorter side; the longer one is at most 1333/800 of it.
        settings: what else is done to the pixels, under the names of :class:`PixelSettings`.
    """

    def __init__(self, shorter: int, settings: Mapping[str, Any] = NOTHING) -> None:
        self.shorter, self.settings, self.pixels = shorter, dict(settings), PixelSettings(**settings)
        multiple = self.pixels.size_divisor
        self.longest = int(LONGEST_OVER_SHORTER * shorter)
        self.sides = multiple, max(self.longest // multiple * multiple, multiple)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image of any size as (3, h, w) float32, h and w multiples of the size divisor, 32."""
        return _to_tensor(_resize(image, self._sides_of(image), self.pixels), self.pixels)

    def _sides_of(self, image: Image.Image) -> tuple[int, int]:
        """Return height and width that an image is resized to: at least one multiple of the divisor each."""
        scale = self.shorter / min(image.size)
        sides = [self.shorter if side == min(image.size) else scale * side for side in (image.height, image.width)]
        shrink = min(1.0, self.longest / max(sides))
        multiple = self.pixels.size_divisor
        height, width = (max(int(shrink * side + 0.5) // multiple * multiple, multiple) for side in sides)
        return height, width

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
        from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

        processor = ViltImageProcessorPil(size={"shortest_edge": self.shorter}, **self.settings)
        return _settings_of(processor, "ViltImageProcessor")


def _resize(image: Image.Image, sides: tuple[int, int], pixels: PixelSettings) -> np.ndarray:
    """Return an image resized to a height and a width, (h, w, 3) uint8."""
    height, width = sides
    return np.asarray(image.resize((width, height), Image.Resampling(pixels.resample)))


def _to_tensor(image: np.ndarray, pixels: PixelSettings) -> Tensor:
    """Return (h, w, 3) uint8 as (3, h, w) float32, rescaled and normalised as the settings say."""
    if pixels.do_rescale:
        image = rescale(image, pixels.rescale_factor, input_data_format=LAST)
    if pixels.do_normalize:
        image = normalize(image, pixels.image_mean, pixels.image_std, input_data_format=LAST)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))


def _settings_of(processor: Any, kind: str) -> dict[str, Any]:
    """Return the settings of a processor as JSON holds them; ``kind`` is the library's name for all its backends."""
    settings = {**processor.to_dict(), "image_processor_type": kind}
    return {name: int(value) if name == "resample" else value for name, value in settings.items()}

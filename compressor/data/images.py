"""METER's ``clip`` image transform, by the image processor of transformers."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from compressor.errors import input_error


class ImageTransform:
    """Shorter side to ``size`` (bicubic), centre crop, CLIP's mean and deviation.

    Args:
        size: pixels of the square that the model sees.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})

    def __call__(self, images: list[Image.Image]) -> Tensor:
        """Images of any size and mode to (B, 3, size, size) float32."""
        return self.processor(images, return_tensors="pt")["pixel_values"].to(torch.float32)


def decode_image(content: bytes, origin: str) -> Image.Image:
    """The image in ``content``, as RGB.

    Raises:
        InputError: the bytes are no image; ``origin`` says where they came from.
    """
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except Exception as error:  # Pillow raises anything on damaged bytes, SyntaxError included
        reason = str(error).split(" <")[0] or type(error).__name__
        raise input_error(
            f"{origin} does not decode ({reason})", "PNG, JPEG or another image Pillow reads", "replace the image"
        ) from None

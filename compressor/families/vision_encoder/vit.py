"""ViT and DeiT: a class token in front of the patches, norms first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.families.vision_encoder.vision_family import vision_family

ATTENTION = (
    *((f"attention.attention.{name}.", f"attention.{name[0]}_proj.") for name in ("query", "key", "value")),
    ("attention.output.dense.", "attention.o_proj."),
)
"""How published checkpoints call the parts of an attention, against transformers' own modules."""
KEYS = (*ATTENTION, ("intermediate.dense.", "mlp.fc1."), ("output.dense.", "mlp.fc2."))


class VitDims(VisionDims):
    """Sizes of a ViT (Dosovitskiy et al., ICLR 2021); the defaults are vit-base-patch16-224 with two classes."""

    config: Mapping[str, Any] = {"model_type": "vit", "image_size": 224, "patch_size": 16}


VIT = vision_family("vit", VitDims, library="ViT", keys=KEYS)

"""Vision encoders that classify: what a declaration needs, and the shipped ones."""

from __future__ import annotations

from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.families.vision_encoder.vision_family import TASK, vision_family
from compressor.families.vision_encoder.vision_modules import (
    VisionEncoderLayer,
    VisionEpilogue,
    VisionPrologue,
    VitEncoderLayer,
)

__all__ = [
    "TASK",
    "VisionDims",
    "VisionEncoderLayer",
    "VisionEpilogue",
    "VisionPrologue",
    "VitEncoderLayer",
    "vision_family",
]

"""Text encoders that classify: what a declaration needs, and the shipped ones."""

from __future__ import annotations

from compressor.families.text_encoder.text_dims import RobertaDims, TextDims
from compressor.families.text_encoder.text_family import TASK, encoder_family, text_encoder_macs
from compressor.families.text_encoder.text_modules import (
    BertEncoderLayer,
    RobertaPrologue,
    TextEncoderLayer,
    TextEpilogue,
    TextPrologue,
)

__all__ = [
    "TASK",
    "BertEncoderLayer",
    "RobertaDims",
    "RobertaPrologue",
    "TextDims",
    "TextEncoderLayer",
    "TextEpilogue",
    "TextPrologue",
    "encoder_family",
    "text_encoder_macs",
]

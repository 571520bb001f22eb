"""Sizes, pools and steps of families, apart from their modules: read without PyTorch."""

from __future__ import annotations

from compressor.architectures import meter, vilt
from compressor.architectures.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {entry.name: entry for entry in (meter.ARCHITECTURE, vilt.ARCHITECTURE)}

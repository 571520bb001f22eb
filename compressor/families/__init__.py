"""The families das knows, in one explicit list."""

from __future__ import annotations

from compressor.families.family import Family
from compressor.families.meter.meter_family import METER
from compressor.families.text_encoder import BERT, ROBERTA
from compressor.families.vilt.vilt_family import VILT

FAMILIES: dict[str, Family] = {family.name: family for family in (METER, VILT, ROBERTA, BERT)}

"""The families das knows, in one explicit list."""

from __future__ import annotations

from compressor.families.family import Family
from compressor.families.meter.meter_family import METER
from compressor.families.text_encoder.bert_families import BERT_FAMILIES
from compressor.families.text_encoder.distilbert import DISTILBERT
from compressor.families.text_encoder.mpnet import MPNET
from compressor.families.vilt.vilt_family import VILT

FAMILIES: dict[str, Family] = {family.name: family for family in (METER, VILT, *BERT_FAMILIES, DISTILBERT, MPNET)}

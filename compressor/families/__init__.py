"""The families das knows: the shipped ones in one explicit list, and those that other packages register."""

from __future__ import annotations

from compressor.families.blip.blip_family import BLIP
from compressor.families.family import Family as Family
from compressor.families.meter.meter_family import METER
from compressor.families.registry import Registry
from compressor.families.text_encoder.albert import ALBERT
from compressor.families.text_encoder.bert_families import BERT_FAMILIES
from compressor.families.text_encoder.deberta import DEBERTA
from compressor.families.text_encoder.distilbert import DISTILBERT
from compressor.families.text_encoder.modernbert import MODERNBERT
from compressor.families.text_encoder.mpnet import MPNET
from compressor.families.two_towers.clip import CLIP
from compressor.families.two_towers.siglip import SIGLIP
from compressor.families.vilt.vilt_family import VILT
from compressor.families.vision_encoder.dinov2 import DINOV2_FAMILIES
from compressor.families.vision_encoder.vit import VIT_FAMILIES

TEXT = (*BERT_FAMILIES, DISTILBERT, MPNET, ALBERT, DEBERTA, MODERNBERT)
FAMILIES = Registry((METER, VILT, *TEXT, *VIT_FAMILIES, *DINOV2_FAMILIES, CLIP, SIGLIP, BLIP))

"""The ways in which the data of each task lies on disk."""

from __future__ import annotations

from compressor.data.layouts import arrow_tables as arrow
from compressor.data.layouts import columns, glue, karpathy, nlvr2_json, vqa_json
from compressor.data.layouts import snli_ve_jsonl as snli_ve
from compressor.data.types import Layout

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "vqa": (*arrow.VQA, vqa_json.LAYOUT, columns.VQA),
    "nlvr2": (arrow.NLVR2, nlvr2_json.LAYOUT, columns.NLVR2),
    "irtr": (arrow.FLICKR30K, arrow.COCO, karpathy.LAYOUT, columns.RETRIEVAL),
    "snli-ve": (arrow.SNLI_VE, snli_ve.LAYOUT, columns.SNLI_VE),
    "text-classification": (glue.LAYOUT, columns.TEXT_CLASSIFICATION),
}

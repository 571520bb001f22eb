"""Small models of every family: sizes that suit generated data, and what is saved beside their tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compressor.architectures.meter import MeterDims
from compressor.architectures.vilt import ViltDims
from compressor.data.types import RawDataset
from compressor.families.text_encoder.bert_families import BertDims, RobertaDims
from compressor.families.vision_encoder.vit import VitDims


@dataclass(frozen=True)
class Sizes:
    """The counts that the sizes of a demo's model depend on."""

    vocabulary: int
    text_length: int
    classes: int
    images: int


def meter_dims(sizes: Sizes, layers: int = 1, fusion_layers: int = 3) -> MeterDims:
    """Return the sizes of a METER with square patches as large as the cells of a scene."""
    return MeterDims(
        hidden=40,
        heads=4,
        fusion_layers=fusion_layers,
        fusion_ffn=80,
        text_vocabulary=sizes.vocabulary,
        text_positions=sizes.text_length + 2,
        text_hidden=40,
        text_layers=layers,
        text_heads=4,
        text_ffn=80,
        vision_width=64,
        vision_layers=layers,
        vision_ffn=128,
        patch=12,
        image_size=36,
        images=sizes.images,
        image_types=sizes.images,
        classes=sizes.classes,
        text_length=sizes.text_length,
        dropout=0.0,
    )


def vilt_dims(sizes: Sizes) -> ViltDims:
    """Return the sizes of a ViLT whose 3 x 3 patches are the cells of a scene."""
    return ViltDims(
        hidden=48,
        heads=4,
        layers=6,
        ffn=96,
        position_grid=3,
        image_size=96,
        images=sizes.images,
        image_types=sizes.images,
        text_vocabulary=sizes.vocabulary,
        text_positions=sizes.text_length,
        text_length=sizes.text_length,
        classes=sizes.classes,
        dropout=0.0,
    )


def text_config(sizes: Sizes, model_type: str, types: int, reserved: int, pad: int) -> dict[str, Any]:
    """Return the config.json of a small text encoder, which embeds ``reserved`` positions that no token has."""
    return {
        "model_type": model_type,
        "vocab_size": sizes.vocabulary,
        "hidden_size": 48,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": sizes.text_length + reserved,
        "type_vocab_size": types,
        "pad_token_id": pad,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def bert_dims(sizes: Sizes) -> BertDims:
    """Return the sizes of a small BERT."""
    return BertDims(
        config=text_config(sizes, "bert", types=2, reserved=0, pad=0),
        classes=sizes.classes,
        text_length=sizes.text_length,
    )


def roberta_dims(sizes: Sizes) -> RobertaDims:
    """Return the sizes of a small RoBERTa, whose positions are counted from 2."""
    return RobertaDims(
        config=text_config(sizes, "roberta", types=1, reserved=2, pad=1),
        classes=sizes.classes,
        text_length=sizes.text_length,
    )


def vit_dims(sizes: Sizes) -> VitDims:
    """Return the sizes of a small ViT whose patches are as large as the cells of a scene."""
    return VitDims(
        config={
            "model_type": "vit",
            "hidden_size": 48,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "image_size": 36,
            "patch_size": 12,
        },
        classes=sizes.classes,
    )


def public_config(dims: Any, dataset: RawDataset) -> dict[str, object]:
    """Return the settings that the public code of METER and ViLT saves and no tensor's shape shows."""
    return {
        "num_heads": dims.heads,
        "max_text_len": dims.text_length,
        "drop_rate": 0.0,
        "image_size": dims.image_size,
    }


def hugging_face_config(dims: Any, dataset: RawDataset) -> dict[str, object]:
    """Return the config.json of a classifier of sequences or images."""
    names = dict(enumerate(dataset.labels))
    label_maps = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    kind = type(dims.library).__name__.removesuffix("Config")
    of = "Sequence" if dims.text_length else "Image"
    return {**dims.config, "architectures": [f"{kind}For{of}Classification"], **label_maps}

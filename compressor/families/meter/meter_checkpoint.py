"""Checkpoints of METER's and DAS's public code: sizes, keys, and positions at another image size."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressor.architectures.meter import RESERVED, MeterDims
from compressor.families.embeddings import resize_positions
from compressor.families.key_mapping import Format, KeyTable, Leftover, State, TensorPart
from compressor.families.meter.meter_encoders import (
    SWIN,
    check_vision_encoder,
    describe_contradictions,
    find_text_encoder,
)
from compressor.families.vision_language import PREFIXES, check_transform, find_head, for_another_task

_PARALLEL_ADAPTER = r"cross_modal_(text|image)_layers\.\d+\.(.+\.)?adapter\.down_proj\.weight"


def _count(state: Mapping[str, Tensor], template: str) -> int:
    count = 0
    while template.format(i=count) in state:
        count += 1
    return count


def read_dims(state: Mapping[str, Tensor], config: Mapping[str, Any], task: str | None) -> MeterDims:
    """Sizes from the tensors; head counts and lengths, which no shape shows, from ``hyper_parameters``.

    Args:
        state: the checkpoint's tensors under their public names.
        config: ``hyper_parameters["config"]``, {} when the checkpoint has none.
        task: whose head is used; None, or one without a head in the checkpoint, for one output.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
        ValueError, TypeError, IndexError: sizes that make no METER, or encoders that its configuration contradicts.
        InputError: it is shown images by another transform than METER's ``clip``.

    """
    check_vision_encoder(config)
    check_transform(config, "clip")
    encoder = find_text_encoder(state, config)
    head = find_head(task)
    last = f"{PUBLIC.prefix(task)}3.weight" if task else ""
    hidden, text_hidden = state["cross_modal_text_transform.weight"].shape
    conv = state["vit_model.visual.conv1.weight"]
    grid = math.isqrt(len(state["vit_model.visual.positional_embedding"]) - 1)
    layer = "text_transformer.encoder.layer.{i}.intermediate.dense.weight"
    block = "vit_model.visual.transformer.resblocks.{i}.mlp.c_fc.weight"
    fusion = "cross_modal_text_layers.{i}.intermediate.dense.weight"
    positions = len(state["text_transformer.embeddings.position_embeddings.weight"])
    types = len(state["token_type_embeddings.weight"]) - 1  # the first is the text's
    heads = int(config.get("num_heads", hidden // 64))
    # Any layer's will do: adapters in some layers only are found incomplete when they are loaded.
    adapters = [len(state[key]) for key in state if re.fullmatch(_PARALLEL_ADAPTER, key)]
    return MeterDims(
        hidden=hidden,
        heads=heads,
        fusion_layers=_count(state, fusion),
        fusion_ffn=len(state[fusion.format(i=0)]),
        text_encoder=encoder,
        text_vocabulary=len(state["text_transformer.embeddings.word_embeddings.weight"]),
        text_positions=positions,
        text_types=len(state["text_transformer.embeddings.token_type_embeddings.weight"]),
        text_hidden=text_hidden,
        text_layers=_count(state, layer),
        # No upstream configuration names the text encoder's heads; a base one has as many as the fusion layers.
        text_heads=heads if text_hidden == hidden else text_hidden // 64,
        text_ffn=len(state[layer.format(i=0)]),
        vision_width=len(conv),
        vision_layers=_count(state, block),
        vision_ffn=len(state[block.format(i=0)]),
        patch=conv.shape[-1],
        image_size=grid * conv.shape[-1],
        images=head.images,
        image_types=max(types, head.images) if types else 0,
        classes=head.classes or (len(state[last]) if last in state else 1),
        text_length=min(int(config.get("max_text_len", 50)), positions - RESERVED[encoder]),
        class_token="token4classifier" in state,
        parallel_width=adapters[0] if adapters else 0,
        dropout=float(config.get("drop_rate", 0.1)),
    )


def prepare_meter(ours: State, dims: MeterDims, state: State, task: str | None) -> State:
    """Positions at the model's image size; types and head of a checkpoint that is fine-tuned for another task."""
    ours = for_another_task(ours, state, task, "blocks.image_bridge.token_types", dims.image_types, PREFIXES["itm"])
    positions = "prologue.image.position_embedding.weight"
    if positions in ours:
        ours[positions] = resize_positions(ours[positions], dims.image_size // dims.patch)
    return ours


_BLOCK = "vit_model.visual.transformer.resblocks.{i}."
_QKV = tuple((f"blocks.VEn{{i}}.self_attn.{name}_proj.", part) for part, name in enumerate("qkv"))

KEYS = KeyTable(
    renames=(
        ("text_transformer.embeddings.word_embeddings.", "prologue.text.word_embeddings."),
        ("text_transformer.embeddings.position_embeddings.", "prologue.text.position_embeddings."),
        ("text_transformer.embeddings.token_type_embeddings.", "prologue.text.token_type_embeddings."),
        ("text_transformer.embeddings.LayerNorm.", "prologue.text.LayerNorm."),
        ("text_transformer.encoder.layer.{i}.", "blocks.LEn{i}."),
        ("vit_model.visual.conv1.", "prologue.image.patch_embedding."),
        ("vit_model.visual.class_embedding", "prologue.image.class_embedding"),
        ("vit_model.visual.positional_embedding", "prologue.image.position_embedding.weight"),
        ("vit_model.visual.ln_pre.", "prologue.image_norm."),
        (_BLOCK + "ln_1.", "blocks.VEn{i}.layer_norm1."),
        (_BLOCK + "ln_2.", "blocks.VEn{i}.layer_norm2."),
        (_BLOCK + "mlp.c_fc.", "blocks.VEn{i}.mlp.fc1."),
        (_BLOCK + "mlp.c_proj.", "blocks.VEn{i}.mlp.fc2."),
        (_BLOCK + "attn.out_proj.", "blocks.VEn{i}.self_attn.out_proj."),
        ("vit_model.visual.ln_post.", "blocks.image_bridge.norm."),
        ("cross_modal_text_transform.", "blocks.text_bridge.project."),
        ("cross_modal_image_transform.", "blocks.image_bridge.project."),
        ("token4classifier", "blocks.text_bridge.class_token"),
        ("cross_modal_text_layers.{i}.", "blocks.FL{i}."),
        ("cross_modal_image_layers.{i}.", "blocks.FV{i}."),
        ("cross_modal_text_pooler.", "epilogue.text_pooler."),
        ("cross_modal_image_pooler.", "epilogue.image_pooler."),
        ("adapter_list_l.{i}.0.", "skips.FL{i}."),
        ("adapter_list_v.{i}.0.", "skips.FV{i}."),
    ),
    splits=(
        *(
            (_BLOCK + f"attn.in_proj_{kind}", tuple(TensorPart(name + kind, at, at + 1, of=3) for name, at in _QKV))
            for kind in ("weight", "bias")
        ),
        (
            "token_type_embeddings.weight",
            (TensorPart("blocks.text_bridge.token_type", 0, 1), TensorPart("blocks.image_bridge.token_types", 1, None)),
        ),
    ),
)

PUBLIC = Format(
    name="METER's or DAS's public code",
    signature=(
        "cross_modal_text_transform.weight",
        "cross_modal_text_layers.0.intermediate.dense.weight",
        "vit_model.visual.conv1.weight",
        "text_transformer.embeddings.word_embeddings.weight",
    ),
    keys=KEYS,
    leftovers=(
        Leftover(
            r"text_transformer\.embeddings\.(position_ids|token_type_ids)$", "a constant buffer of old transformers"
        ),
        Leftover(r"text_transformer\.pooler\.", "the text encoder's pooler, unused by METER"),
        Leftover(
            r"vit_model\.(positional_embedding|ln_final\.|token_embedding\.|text_projection|transformer\.|logit_scale)",
            "CLIP's text side, unused by METER",
        ),
        Leftover(r"vit_model\.visual\.proj$", "CLIP's projection for matching, unused by METER"),
        Leftover(r"das_gate|skip_num", "search state of the public DAS code"),
    ),
    heads=PREFIXES,
    other_heads="{task}_classifier.",
    heads_by_name={"mlm": "mlm_score.", "gqa": "gqa_classifier."},
    read_dims=read_dims,
    remarks=describe_contradictions,
    unbuilt=(SWIN,),
)

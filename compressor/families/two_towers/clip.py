"""CLIP (Radford et al., 2021): a ViT read at its class token, and a causal text encoder read at the text's end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from compressor.costs.layer_macs import NORMS, PRODUCTS, norm_macs
from compressor.families.family import ATTENTION_MASK, INPUT_IDS
from compressor.families.two_towers.tower_dims import TEXT, TowerDims
from compressor.families.two_towers.tower_family import tower_family
from compressor.families.two_towers.tower_modules import CausalLayer, Projections, Reader, TowerLayer

OLD_END = 2  # what configurations called the end before transformers 4.31, whatever it was: the largest id is the end


class ClipDims(TowerDims):
    """Sizes of a CLIP; the defaults are openai/clip-vit-base-patch32."""

    config: Mapping[str, Any] = {"model_type": "clip"}

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.config["projection_dim"]

    @property
    def unsupported(self) -> str:
        """Several tokens that may end a text, too."""
        end = self.config[TEXT]["eos_token_id"]
        return super().unsupported or ("" if isinstance(end, int) else f"eos_token_id {end}")


def read_to_end(dims: TowerDims) -> Reader:
    """Return what counts the tokens of a text up to the first that ends it, as transformers finds that."""
    end = dims.config[TEXT]["eos_token_id"]

    def count(input_ids: Tensor) -> Tensor:
        """(B, L) -> (B, 1)."""
        marks = input_ids if end == OLD_END else input_ids == end
        return marks.to(torch.int32).argmax(-1, keepdim=True) + 1

    return count


CLIP = tower_family(
    "clip",
    ClipDims,
    library="CLIPModel",
    signature=(
        "text_model.embeddings.token_embedding.weight",
        "vision_model.embeddings.class_embedding",
        "vision_model.pre_layrnorm.weight",
    ),
    keys=(
        ("vision_model.pre_layrnorm.", "prologue.image_norm."),
        ("text_projection.", "epilogue.head.text."),
        ("visual_projection.", "epilogue.head.image."),
        ("logit_scale", "epilogue.head.scale"),
    ),
    head_keys="visual_projection.",
    inputs=(INPUT_IDS, ATTENTION_MASK),
    text_streams=("text", "text_mask"),
    readouts={"text": "last", "image": "first"},
    text_layer=CausalLayer,
    vision_layer=TowerLayer,
    embedded=lambda model: model.vision_model.pre_layrnorm,
    project=lambda model: Projections(model.text_projection, model.visual_projection, model.logit_scale),
    read_to=read_to_end,
    head_macs=lambda dims, tokens: {
        PRODUCTS: (dims.text.hidden_size + dims.vision.hidden_size) * dims.width,
        NORMS: norm_macs(1, dims.text.hidden_size + dims.vision.hidden_size),
    },
    class_tokens=1,
)

"""MPNet: its layers add a bias for the distance of two tokens to their attention.

All layers share one table of it, so it is made once, in the prologue, and is a stream of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.costs.layer_macs import ATTENTION, PRODUCTS, ModelMacs
from compressor.families.family import ATTENTION_MASK, INPUT_IDS
from compressor.families.text_encoder.text_dims import TextDims
from compressor.families.text_encoder.text_family import encoder_family, text_encoder_macs
from compressor.families.text_encoder.text_modules import TextEncoderLayer, TextPrologue
from compressor.models.steps import Pick, Streams
from compressor.models.trims.single_query import attend_one_token

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel


class MpnetDims(TextDims):
    """Sizes of an MPNet (Song et al., NeurIPS 2020); the defaults are mpnet-base with two classes."""

    config: Mapping[str, Any] = {"model_type": "mpnet", "max_position_embeddings": 514, "layer_norm_eps": 1e-5}

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have: the library counts positions from 2, whatever the padding token's id is."""
        return self.library.max_position_embeddings - 2


class MpnetPrologue(TextPrologue):
    """Token ids to ``hidden``, ``mask`` and, for the distance of every pair of tokens, ``bias``."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__(backbone)
        self.bias: nn.Embedding = backbone.encoder.relative_attention_bias
        self.bucket = backbone.encoder.relative_position_bucket

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, **others: Tensor) -> Streams:
        """Make ``bias``, (B, heads, L, L), too: every stream has a row for each sample, and here all are alike."""
        streams = super().forward(input_ids, attention_mask, **others)
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        bias = self.bias(self.bucket(place - place[:, None])).permute(2, 0, 1)
        return {**streams, "bias": bias.expand(input_ids.shape[0], -1, -1, -1)}


class MpnetLayer(TextEncoderLayer):
    """A layer of MPNet's, which can compute one token alone."""

    def forward(self, hidden: Tensor, mask: Tensor | None, bias: Tensor) -> Tensor:  # type: ignore[override]
        """(B, L, D), (B, 1, 1, L), or None, and (B, heads, L, L) -> (B, L, D)."""
        (out,) = self.layer(hidden, position_bias=_masked(bias, mask))
        return self.add_adapter(out, hidden)

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None, bias: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        layer: Any = self.layer
        attention, inner, token = layer.attention, layer.attention.attn, pick(hidden)
        heads = inner.num_attention_heads
        row = pick(bias.transpose(1, 2).flatten(2)).unflatten(2, (heads, -1))  # of this token alone, (B, 1, heads, L)
        attended = attend_one_token(token, hidden, inner.q, inner.k, inner.v, heads, _masked(row, mask))
        attended = attention.LayerNorm(inner.o(attended) + token)
        return self.add_adapter(layer.output(layer.intermediate(attended), attended), token)


def _masked(bias: Tensor, mask: Tensor | None) -> Tensor:
    return bias if mask is None else bias.masked_fill(~mask, torch.finfo(bias.dtype).min)


def mpnet_macs(dims: MpnetDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of an MPNet: BERT's, with an attention that is written out in matrix products."""
    macs = text_encoder_macs(dims, task, patches)
    place = macs.places["encoder"]
    products = place.whole[PRODUCTS] + place.whole[ATTENTION]
    whole = {**place.whole, PRODUCTS: products, ATTENTION: 0}
    return replace(macs, places={"encoder": replace(place, whole=whole)})


MPNET = encoder_family(
    "mpnet",
    MpnetDims,
    lambda model: nn.Identity(),
    "classifier.out_proj.weight",
    library="MPNet",
    keys=(("mpnet.encoder.relative_attention_bias.", "prologue.bias."),),
    other_heads={"mlm": "lm_head.", "question-answering": "qa_outputs."},
    inputs=(INPUT_IDS, ATTENTION_MASK),
    streams=("hidden", "mask", "bias"),
    prologue=MpnetPrologue,
    block=MpnetLayer,
    formula=mpnet_macs,
)

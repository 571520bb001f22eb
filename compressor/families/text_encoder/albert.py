"""ALBERT: BERT's layout with one layer that is run again and again.

Every step has the same module. Skipping one leaves out a run of it: there is less to compute, and not a parameter less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from compressor.families.text_encoder.text_dims import TextDims
from compressor.families.text_encoder.text_family import encoder_family, text_encoder_macs
from compressor.families.text_encoder.text_modules import TextEncoderLayer, TextPrologue
from compressor.models.steps import Pick
from compressor.models.trims.single_query import attend_one_token

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel


class AlbertDims(TextDims):
    """Sizes of an ALBERT (Lan et al., ICLR 2020); the defaults are albert-base-v2 with two classes."""

    config: Mapping[str, Any] = {
        "model_type": "albert",
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    }

    @property
    def unsupported(self) -> str:
        """Layers of several kinds, which no published ALBERT has."""
        kinds = ((name, self.config[name]) for name in ("num_hidden_groups", "inner_group_num"))
        return ", ".join(f"{name} {count}" for name, count in kinds if count != 1)


class AlbertPrologue(TextPrologue):
    """The same with ALBERT's projection of the embeddings, which belongs to its encoder."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__(backbone)
        self.project = backbone.encoder.embedding_hidden_mapping_in


class AlbertLayer(TextEncoderLayer):
    """A run of ALBERT's layer, which can compute one token alone."""

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        layer: Any = self.layer
        inner, token = layer.attention, pick(hidden)
        attended = attend_one_token(token, hidden, inner.query, inner.key, inner.value, inner.num_attention_heads, mask)
        attended = inner.LayerNorm(inner.dense(attended) + token)
        return self.add_adapter(layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended), token)


ALBERT = encoder_family(
    "albert",
    AlbertDims,
    lambda model: nn.Sequential(nn.Flatten(), model.albert.pooler, model.albert.pooler_activation, model.dropout),
    "classifier.weight",
    library="Albert",
    layers="encoder.albert_layer_groups.0.albert_layers",
    one_layer=True,
    keys=(
        ("albert.encoder.embedding_hidden_mapping_in.", "prologue.project."),
        ("albert.pooler.", "epilogue.pooler.1."),
    ),
    other_heads={"mlm": "predictions.", "sentence-order": "sop_classifier.", "question-answering": "qa_outputs."},
    prologue=AlbertPrologue,
    block=AlbertLayer,
    formula=text_encoder_macs,
)

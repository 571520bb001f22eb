"""DeBERTa, version 2 and 3: attention scores that depend on content and distance apart.

The embeddings of distances are one table for all layers. The blocks share it with the prologue, under whose name it is
stored: as a stream it would be kept once for each sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from compressor.costs.layer_macs import NORMS, PRODUCTS, ByKind, ModelMacs, Place, add_macs, norm_macs
from compressor.families.family import ATTENTION_MASK, INPUT_IDS
from compressor.families.text_encoder.text_dims import TextDims
from compressor.families.text_encoder.text_family import encoder_family, head_macs
from compressor.families.text_encoder.text_modules import TextEncoderLayer, TextPrologue
from compressor.models.steps import Pick, Streams

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

# What makes another network: the first value of each is that of all published models but the two largest.
SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "relative_attention": (True,),
    "type_vocab_size": (0,),
    "conv_kernel_size": (0, None),  # a convolution behind the first layer: deberta-v2-xlarge and -xxlarge
}


class DebertaDims(TextDims):
    """Sizes of a DeBERTa (He et al., ICLR 2021 and 2023); the defaults are deberta-v3-base with two classes."""

    undeclared_settings: ClassVar[tuple[str, ...]] = (
        *("position_buckets", "norm_rel_ebd", "share_att_key", "attention_head_size", "embedding_size"),
        *("conv_kernel_size", "cls_dropout", "pooler_hidden_size"),
    )
    config: Mapping[str, Any] = {
        "model_type": "deberta-v2",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    }

    @property
    def unsupported(self) -> str:
        """What no shipped model of das computes."""
        given = ((name, self.config.get(name, values[0])) for name, values in SUPPORTED.items())
        return ", ".join(f"{name} {value}" for name, value in given if value not in SUPPORTED[name])

    @property
    def distances(self) -> int:
        """Rows of the embeddings of distances that are read."""
        buckets, most = self.config.get("position_buckets", -1), self.config["max_relative_positions"]
        return 2 * (buckets if buckets > 0 else most if most > 0 else self.config["max_position_embeddings"])

    @property
    def text_types(self) -> int:
        """One: no type is embedded."""
        return 1


class Distances(nn.Module):
    """The embeddings of distances, (2 spans, D)."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.rel_embeddings: nn.Embedding = encoder.rel_embeddings
        self.LayerNorm = getattr(encoder, "LayerNorm", nn.Identity())

    def forward(self) -> Tensor:
        """Return them as layers read them."""
        return self.LayerNorm(self.rel_embeddings.weight.clone())  # PyTorch counts no MACs of what reads a parameter


class DebertaPrologue(TextPrologue):
    """The same with the embeddings of distances, which it gives to the layers."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__(backbone)
        self.distances = Distances(backbone.encoder)
        for layer in backbone.encoder.layer:
            layer.distances = self.distances

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, **others: Tensor) -> Streams:
        """Make the same; what is embedded of padding is 0."""
        hidden = self.embeddings(input_ids=input_ids, mask=attention_mask)
        return {"hidden": hidden} | ({} if attention_mask is None else {"mask": attention_mask[:, None, None].bool()})


class DebertaLayer(TextEncoderLayer):
    """A layer of DeBERTa's; where one token is read it attends with all, and does the rest for one."""

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, D) and (B, 1, 1, L), or None, -> (B, L, D)."""
        return self._transform(self._attend(hidden, mask), hidden)

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return self._transform(pick(self._attend(hidden, mask)), pick(hidden))

    def _attend(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        layer: Any = self.layer
        mask = hidden.new_ones(1, 1, 1, 1) if mask is None else mask
        return layer.attention(hidden, mask, rel_embeddings=layer.distances())[0]

    def _transform(self, attended: Tensor, hidden: Tensor) -> Tensor:
        layer: Any = self.layer
        return self.add_adapter(layer.output(layer.intermediate(attended), attended), hidden)


def deberta_macs(dims: DebertaDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a DeBERTa: BERT's, written out in matrix products, and those with distances.

    Every layer normalises and projects the distances, and compares the tokens with them: queries (c2p), keys (p2c).
    """
    d, embedded, tokens, distances = dims.hidden, dims.embedded, dims.text_length, dims.distances
    kinds = len({*(dims.config["pos_att_type"] or ())} & {"c2p", "p2c"})
    projected = 2 if dims.config.get("share_att_key") else kinds
    normed = "layer_norm" in str(dims.config.get("norm_rel_ebd"))
    compared = projected * distances * d**2 + kinds * tokens * distances * d
    attention = {
        PRODUCTS: tokens * 4 * d**2 + 2 * tokens**2 * d + compared,
        NORMS: norm_macs(tokens, d) + (norm_macs(distances, d) if normed else 0),
    }

    def transform(rows: int) -> ByKind:
        return {PRODUCTS: rows * 2 * d * dims.ffn, NORMS: norm_macs(rows, d)}

    whole, first = (add_macs(attention, transform(rows)) for rows in (tokens, 1))
    return ModelMacs(
        prologue={NORMS: norm_macs(tokens, d), PRODUCTS: tokens * embedded * d if embedded != d else 0},
        places={"encoder": Place(1, tokens, d, whole, first, 1)},
        head=head_macs(dims, task),
    )


DEBERTA = encoder_family(
    "deberta-v2",
    DebertaDims,
    lambda model: nn.Sequential(model.pooler, model.dropout),
    "classifier.weight",
    library="DebertaV2",
    prefix="deberta",
    keys=(
        ("pooler.", "epilogue.pooler.0."),
        ("deberta.encoder.rel_embeddings.", "prologue.distances.rel_embeddings."),
        ("deberta.encoder.LayerNorm.", "prologue.distances.LayerNorm."),
    ),
    other_heads={"mlm": "cls.", "replaced-tokens": "mask_predictions.", "question-answering": "qa_outputs."},
    inputs=(INPUT_IDS, ATTENTION_MASK),
    prologue=DebertaPrologue,
    block=DebertaLayer,
    formula=deberta_macs,
)

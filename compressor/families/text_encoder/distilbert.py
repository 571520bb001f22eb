"""DistilBERT: BERT's layout under names of its own, without token types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from compressor.families.family import ATTENTION_MASK, INPUT_IDS
from compressor.families.text_encoder.text_dims import TextDims
from compressor.families.text_encoder.text_family import encoder_family, text_encoder_macs
from compressor.families.text_encoder.text_modules import TextEncoderLayer
from compressor.models.steps import Pick
from compressor.models.trims.single_query import attend_one_token


class DistilbertDims(TextDims):
    """Sizes of a DistilBERT (Sanh et al., 2019); the defaults are distilbert-base-uncased with two classes."""

    config: Mapping[str, Any] = {"model_type": "distilbert"}

    @property
    def ffn(self) -> int:
        """Inner width of the feed-forward part."""
        return self.library.hidden_dim


class DistilbertLayer(TextEncoderLayer):
    """A layer of DistilBERT's, which can compute one token alone."""

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        layer: Any = self.layer
        inner, token = layer.attention, pick(hidden)
        attended = attend_one_token(token, hidden, inner.q_lin, inner.k_lin, inner.v_lin, inner.n_heads, mask)
        attended = layer.sa_layer_norm(inner.out_lin(attended) + token)
        return self.add_adapter(layer.output_layer_norm(layer.ffn(attended) + attended), token)


DISTILBERT = encoder_family(
    "distilbert",
    DistilbertDims,
    lambda model: nn.Sequential(model.pre_classifier, nn.ReLU(), model.dropout, nn.Flatten()),
    "classifier.weight",
    library="DistilBert",
    layers="transformer.layer",
    keys=(("pre_classifier.", "epilogue.pooler.0."),),
    other_heads={"mlm": "vocab_", "question-answering": "qa_outputs."},
    inputs=(INPUT_IDS, ATTENTION_MASK),
    block=DistilbertLayer,
    formula=text_encoder_macs,
)

"""The parts of a text encoder: the library's own embeddings, layers and heads, taken apart into steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from compressor.families.embeddings import untyped_roberta
from compressor.families.text_encoder.text_dims import TextDims
from compressor.models.adapters import Adapter
from compressor.models.readout import ONE, Readout, read_tokens
from compressor.models.steps import Pick, Streams, valid_tokens
from compressor.models.trims.single_query import one_token_of

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel


class TextPrologue(nn.Module):
    """Token ids to the first ``hidden`` stream and the ``mask``."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.embeddings: nn.Module = backbone.embeddings
        self.project = getattr(backbone, "embeddings_project", nn.Identity())

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, **others: Tensor) -> Streams:
        """Take (B, L) int64 each; make ``hidden`` (B, L, D) and ``mask`` (B, 1, 1, L) bool, True at tokens.

        There is no ``mask`` without an ``attention_mask``: no text is padded.
        """
        hidden = self.project(self.embeddings(input_ids=input_ids, **others))
        return {"hidden": hidden} | ({} if attention_mask is None else {"mask": attention_mask[:, None, None].bool()})


class RobertaPrologue(TextPrologue):
    """The same with RoBERTa's embeddings, which are given no token types."""

    def fold_constants(self) -> None:
        """Add the token type to the positions."""
        self.embeddings = untyped_roberta(self.embeddings)


class TextEncoderLayer(nn.Module):
    """A layer of the library, and a parallel adapter beside the whole of it when ``parallel_width`` is not 0."""

    def __init__(self, layer: nn.Module, dims: TextDims) -> None:
        super().__init__()
        self.layer = layer
        self.adapter = Adapter(dims.hidden, dims.parallel_width) if dims.parallel_width else None

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, D) and (B, 1, 1, L), or None, -> (B, L, D)."""
        return self.add_adapter(self.layer(hidden, mask), hidden)

    def add_adapter(self, out: Tensor, hidden: Tensor) -> Tensor:
        """Return the layer's output on ``hidden`` and, where there is an adapter, what that makes of ``hidden``."""
        return out if self.adapter is None else out + self.adapter(hidden)


class BertEncoderLayer(TextEncoderLayer):
    """The same with a layer of BERT's layout, which can compute one token alone."""

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return self.add_adapter(one_token_of(self.layer, pick, hidden, mask), pick(hidden))


class TextEpilogue(nn.Module):
    """What is read of the stream to the head, by way of the pooler; ``norm`` is that of every token of the stream."""

    def __init__(
        self, pooler: nn.Module, head: nn.Module, readout: Readout = "first", norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pooler, self.head, self.readout, self.norm = pooler, head, readout, norm or nn.Identity()

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes), or (B, L, classes) of all tokens, 0 at padding."""
        if self.readout in ONE:
            return self.head(self.pooler(self.norm(read_tokens(streams, "hidden", self.readout))))
        normed = {**streams, "hidden": self.norm(streams["hidden"])}
        logits = self.head(self.pooler(read_tokens(normed, "hidden", self.readout)))
        return logits * valid_tokens(streams, "hidden")[..., None] if logits.ndim > 2 else logits

"""The parts of a vision encoder: the library's own embeddings, layers and heads, taken apart into steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.models.adapters import Adapter
from compressor.models.prefix import attend
from compressor.models.readout import read_tokens
from compressor.models.steps import Pick, Streams
from compressor.models.trims.single_query import attend_one_token
from compressor.token_merging.bipartite import merge_alike

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel


class VisionPrologue(nn.Module):
    """Pixels to the first ``image`` stream."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.embeddings: nn.Module = backbone.embeddings

    def forward(self, pixel_values: Tensor) -> Streams:
        """Take (B, 3, H, W); make ``image`` (B, N, D): the class token, and a token for each patch in row-major order.

        Nothing is masked.
        """
        return {"image": self.embeddings(pixel_values)}


class VisionEncoderLayer(nn.Module):
    """A layer of the library, and a parallel adapter beside the whole of it when ``parallel_width`` is not 0."""

    def __init__(self, layer: nn.Module, dims: VisionDims) -> None:
        super().__init__()
        self.layer = layer
        self.adapter = Adapter(dims.hidden, dims.parallel_width) if dims.parallel_width else None

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.add_adapter(self.layer(image), image)

    def add_adapter(self, out: Tensor, image: Tensor) -> Tensor:
        """Return the layer's output on ``image`` and, where there is an adapter, what that makes of ``image``."""
        return out if self.adapter is None else out + self.adapter(image)


class VitEncoderLayer(VisionEncoderLayer):
    """The same with a layer of ViT's layout, which can compute one token alone."""

    def one_token(self, pick: Pick, image: Tensor, log_sizes: Tensor | None = None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes; ``log_sizes`` where tokens were merged."""
        layer: Any = self.layer
        token, normed = pick(image), layer.layernorm_before(image)
        attended = token + layer.dropout(attend_with(layer.attention, pick(normed), normed, log_sizes))
        return self.add_adapter(attended + layer.dropout(layer.mlp(layer.layernorm_after(attended))), token)


class MergingVitLayer(VitEncoderLayer):
    """A layer of ViT's layout; behind its attention, ``merged`` tokens become part of those that are most alike."""

    def __init__(self, layer: nn.Module, dims: VisionDims, merged: int) -> None:
        super().__init__(layer, dims)
        self.merged = merged

    def forward(self, image: Tensor, log_sizes: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, N, D), (B, 1, 1, N) -> (B, N - merged, D), (B, 1, 1, N - merged); without merging the first alone."""
        layer: Any = self.layer
        normed, inner = layer.layernorm_before(image), layer.attention
        query, key, value = (
            projection(normed).unflatten(-1, (inner.num_attention_heads, -1)).transpose(1, 2)
            for projection in (inner.q_proj, inner.k_proj, inner.v_proj)
        )
        dropout = inner.attention_dropout if self.training else 0.0
        attended = attend(inner, query, key, value, log_sizes, dropout).transpose(1, 2).flatten(2)
        image = image + layer.dropout(inner.o_proj(attended))
        if self.merged:
            image, log_sizes = merge_alike(image, key, log_sizes, self.merged)
        image = image + layer.dropout(layer.mlp(layer.layernorm_after(image)))
        return (image, log_sizes) if self.merged and log_sizes is not None else image


def attend_with(attention: Any, token: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what the library's self-attention makes of one token, (B, 1, D), among those of ``context``, (B, N, D)."""
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    return attention.o_proj(attend_one_token(token, context, *projections, attention.num_attention_heads, mask))


class VisionEpilogue(nn.Module):
    """The class token to the head; ``norm`` is that of every token of the stream."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.norm: nn.Module = model.base_model.layernorm
        self.head: nn.Module = model.classifier

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes)."""
        return self.head(self.norm(read_tokens(streams, "image", "first")[:, 0]))

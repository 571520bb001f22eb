"""The parts of a vision encoder: the library's own embeddings, layers and heads, taken apart into steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.models.adapters import Adapter
from compressor.models.readout import read_tokens
from compressor.models.single_query import attend_one_token
from compressor.models.steps import Pick, Streams

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

    def one_token(self, pick: Pick, image: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        layer: Any = self.layer
        token, normed = pick(image), layer.layernorm_before(image)
        attended = token + layer.dropout(attend_with(layer.attention, pick(normed), normed))
        return self.add_adapter(attended + layer.dropout(layer.mlp(layer.layernorm_after(attended))), token)


def attend_with(attention: Any, token: Tensor, context: Tensor) -> Tensor:
    """Return what the library's self-attention makes of one token, (B, 1, D), among those of ``context``, (B, N, D)."""
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    return attention.o_proj(attend_one_token(token, context, *projections, attention.num_attention_heads, None))


class VisionEpilogue(nn.Module):
    """The class token to the head; ``norm`` is that of every token of the stream."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.norm: nn.Module = model.base_model.layernorm
        self.head: nn.Module = model.classifier

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes)."""
        return self.head(self.norm(read_tokens(streams, "image", "first")[:, 0]))

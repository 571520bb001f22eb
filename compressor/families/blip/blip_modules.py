"""The parts of a BLIP: the library's embeddings and layers, taken apart into steps, with attention that is fused."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from compressor.models.adapters import Adapter
from compressor.models.prefix import attend
from compressor.models.readout import read_tokens
from compressor.models.steps import Pick, Streams, TokenWise
from compressor.models.trims.single_query import attend_one_token


class BlipPrologue(nn.Module):
    """Token ids and pixels to the first ``text`` and ``image`` streams and the ``text_mask``.

    Args:
        text: the library's embeddings of tokens.
        image: those of patches.
    """

    def __init__(self, text: nn.Module, image: nn.Module) -> None:
        super().__init__()
        self.text, self.image = text, image

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, pixel_values: Tensor) -> Streams:
        """Take token ids and their mask, (B, L), and pixels, (B', 3, H, W).

        Returns:
            ``text`` (B, L, Dt), ``image`` (B', N, Dv), and where there is an ``attention_mask`` ``text_mask``
            (B, 1, 1, L) bool, True at tokens.
        """
        streams = {"text": self.text(input_ids), "image": self.image(pixel_values)}
        if attention_mask is not None:
            streams["text_mask"] = attention_mask[:, None, None].bool()
        return streams


class BlipLayer(nn.Module):
    """A layer of the library, and a parallel adapter beside the whole of it when its bottleneck is not 0."""

    def __init__(self, layer: nn.Module, width: int, parallel_width: int) -> None:
        super().__init__()
        self.layer: Any = layer
        self.adapter = Adapter(width, parallel_width) if parallel_width else None

    def add_adapter(self, out: Tensor, x: Tensor) -> Tensor:
        """Return the layer's output on ``x`` and, where there is an adapter, what that makes of ``x``."""
        return out if self.adapter is None else out + self.adapter(x)


class BlipVisionLayer(BlipLayer):
    """A pre-LN layer of CLIP's, which BLIP's is but for the names of its parts."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, Dv)."""
        return self.add_adapter(self.layer(image, None), image)


class BlipFusionLayer(BlipLayer):
    """BLIP's layer of text: self-attention, cross-attention to the image, feed-forward, each followed by its norm."""

    def forward(self, text: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, Dt), (B, N, Dv) and (B, 1, 1, L), or None, -> (B, L, Dt)."""
        x = _attend(self.layer.attention, text, text, mask)
        x = _attend(self.layer.crossattention, x, image, None)
        return self.add_adapter(self.layer.feed_forward_chunk(x), text)

    def one_token(self, pick: Pick, text: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, Dt), at the token that ``pick`` takes."""
        x = _attend_alone(self.layer.attention, pick(text), text, mask)
        x = _attend_alone(self.layer.crossattention, x, image, None)
        return self.add_adapter(self.layer.feed_forward_chunk(x), pick(text))


def _attend(attention: Any, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
    """Return what the library's attention makes of ``x``, (B, M, D), that attends to ``context``, (B, N, Dc)."""
    inner = attention.self
    query, key, value = (
        projected.unflatten(-1, (inner.num_attention_heads, -1)).transpose(1, 2)  # (B, heads, M or N, D / heads)
        for projected in (inner.query(x), inner.key(context), inner.value(context))
    )
    attended = attend(inner, query, key, value, mask, dropout=inner.dropout.p if inner.training else 0.0)
    return attention.output(attended.transpose(1, 2).flatten(2), x)


def _attend_alone(attention: Any, token: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
    """Return the same for one token, (B, 1, D)."""
    inner = attention.self
    projections = inner.query, inner.key, inner.value
    attended = attend_one_token(token, context, *projections, inner.num_attention_heads, mask)
    return attention.output(attended, token)


class ImageNorm(TokenWise):
    """The norm behind the vision encoder."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, Dv)."""
        return self.norm(image)


class BlipEpilogue(nn.Module):
    """The first token of the text to the head."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes)."""
        return self.head(read_tokens(streams, "text", "first")[:, 0])

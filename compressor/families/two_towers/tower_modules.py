"""The parts of a model of two towers: the library's own embeddings, layers and heads, taken apart into steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.models.readout import Readout, read_tokens
from compressor.models.steps import Pick, Streams
from compressor.models.trims.single_query import one_token_of_clip

Reader = Callable[[Tensor], Tensor]
"""Of token ids, (B, L): how many of them belong to the text, (B, 1)."""


class TowerPrologue(nn.Module):
    """Token ids to the ``text`` stream and its mask, pixels to the ``image`` stream: of what is given, not of more.

    Args:
        text: the library's embeddings of tokens.
        image: those of patches.
        image_norm: what is done to each of these.
        read_to: how much of the token ids is read; None is all.
    """

    def __init__(self, text: nn.Module, image: nn.Module, image_norm: nn.Module, read_to: Reader | None) -> None:
        super().__init__()
        self.text, self.image, self.image_norm, self.read_to = text, image, image_norm, read_to

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
    ) -> Streams:
        """Take token ids (B, L) with their mask, and pixels (B', 3, H, W), or one of both.

        Returns:
            ``text`` (B, L, Dt), ``text_mask`` (B, 1, 1, L) bool, True at what belongs to the text, where there is a
            mask; ``image`` (B', N, Dv).
        """
        streams: Streams = {}
        if input_ids is not None:
            streams["text"] = self.text(input_ids)
        if input_ids is not None and attention_mask is not None:
            valid = attention_mask.bool()
            if self.read_to is not None:
                valid = valid & (torch.arange(valid.shape[1], device=valid.device) < self.read_to(input_ids))
            streams["text_mask"] = valid[:, None, None]
        if pixel_values is not None:
            streams["image"] = self.image_norm(self.image(pixel_values))
        return streams


class TowerLayer(nn.Module):
    """A pre-LN layer of the library, of CLIP's layout."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, D) and (B, 1, 1, N), or None, -> (B, N, D)."""
        return self.layer(hidden, mask)

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return one_token_of_clip(self.layer, pick, hidden, mask)


class CausalLayer(TowerLayer):
    """The same where each token attends to those in front of it and to itself: the last one, to all."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """(B, L, D) and (B, 1, 1, L) bool -> (B, L, D)."""
        place = torch.arange(mask.shape[-1], device=mask.device)
        return super().forward(hidden, mask & (place <= place[:, None]))


class Projections(nn.Module):
    """What is read of the towers to vectors of length 1 and of one width.

    Args:
        text: what is read of the text, (B, 1, Dt), to its vector.
        image: what is read of the image, (B, 1, Dv), or (B, N, Dv) where it is all tokens, to its vector.
        scale: what the library multiplies cosines by, as a logarithm.
        bias: what it adds; None where it adds nothing. Both make probabilities of cosines, and change no ranking.
    """

    def __init__(self, text: nn.Module, image: nn.Module, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.text, self.image, self.scale = text, image, nn.Parameter(scale)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, pooled: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of the text and of the image, (B, 2, width); of one of them alone (B, 1, width)."""
        vectors = [getattr(self, tower)(x).flatten(1) for tower, x in pooled.items()]
        return torch.stack([F.normalize(x, dim=-1) for x in vectors], dim=1)


class TowerEpilogue(nn.Module):
    """What is read of the streams that are there, each token normed, to the head."""

    def __init__(self, norms: Mapping[str, nn.Module], readouts: Mapping[str, Readout], head: nn.Module) -> None:
        super().__init__()
        self.norms, self.readouts, self.head = nn.ModuleDict(norms), dict(readouts), head

    def forward(self, streams: Streams) -> Tensor:
        """Return the vectors, (B, towers, width), the text's first."""
        there = {name: readout for name, readout in self.readouts.items() if name in streams}
        return self.head(
            {name: self.norms[name](read_tokens(streams, name, readout)) for name, readout in there.items()}
        )

"""Splits of texts that are embedded one by one; the full model's vectors are what a slim model is to answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.data.splits import Split, UnlabelledSplit
from compressor.data.text import Text
from compressor.data.texts.judgements import Judgements
from compressor.data.types import Sample

PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""What sentence-transformers calls the prompts of a role, as its ``encode_query`` and ``encode_document`` do."""
TOKENS = 0  # the row of tokenised texts that has their ids


class EmbeddedSplit(UnlabelledSplit):
    """Texts, each a sample of its own; judgements are of all of them together."""

    left_out = "queries that no document answers"

    @property
    def judgements(self) -> Judgements | None:
        """What people said of the texts; None where nothing is known, or not all texts are there."""
        return self.records.judgements if self.samples is self.records.samples else None

    def text_of(self, sample: Sample) -> Text:
        """Return the text of a sample behind the model's prompt for its role, else behind its default prompt."""
        prompts = self.transforms.prompts
        named = next((name for name in PROMPTS.get(sample.role, ()) if name in prompts), "")
        return prompts.get(named, "") + sample.text

    @property
    def has_targets(self) -> bool:
        """Whether the full model was asked for its vectors."""
        return self._targets is not None

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return the full model's vectors of these texts, (B, width); zeros before it was asked."""
        return torch.zeros(len(indices), self.classes) if self._targets is None else super().targets(indices)

    def token_ids(self) -> list[np.ndarray]:
        """Return the tokens of each text, (n,), special ones among them."""
        return [tokens[TOKENS] for tokens in self._tokenise(self.samples)]


def keep_apart(train: Split, held_out: Split, share: float) -> tuple[Split, Split]:
    """Return both splits without a text in common, as a corpus is in every split of it.

    Of the texts that both have, a random ``share`` is held out; the others are trained on.
    """
    common = sorted({sample.text for sample in train.samples} & {sample.text for sample in held_out.samples})
    lot = np.random.default_rng(0).permutation(len(common))
    kept_out = {common[number] for number in lot[: max(1, int(len(common) * share))]} if common else set()
    trained = set(common) - kept_out
    return (
        train.subset([n for n, sample in enumerate(train.samples) if sample.text not in kept_out]),
        held_out.subset([n for n, sample in enumerate(held_out.samples) if sample.text not in trained]),
    )

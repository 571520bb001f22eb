"""Sentences whose words have a tag each: the tag is asked for at a word's first token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.data.splits import Split


class TaggedSplit(Split):
    """Texts of words, divided by blanks; a sample's labels are the numbers of their tags, in order."""

    def first_tokens(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return the number of the first token of every word of these samples, -1 where the text is cut before it."""
        texts = [self.samples[int(index)].text for index in indices]
        new = [text for text in dict.fromkeys(texts) if text not in self._firsts]
        self._firsts.update(zip(new, self.transforms.text.first_tokens(new), strict=True))
        return [self._firsts[text] for text in texts]

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return (B, L): one more than the number of its tag at the first token of every word, elsewhere 0."""
        samples = [self.samples[int(index)] for index in indices]
        longest = max((tokens.shape[1] for tokens in self._tokenise(samples)), default=0)
        targets = torch.zeros(len(samples), longest, dtype=torch.long)
        for row, (sample, firsts) in enumerate(zip(samples, self.first_tokens(indices), strict=True)):
            tags = 1 + torch.tensor(sample.labels)
            targets[row, torch.from_numpy(firsts[firsts >= 0])] = tags[torch.from_numpy(firsts >= 0)]
        return targets

    @property
    def _firsts(self) -> dict[str, np.ndarray]:
        return self.__dict__.setdefault("_firsts_of_texts", {})

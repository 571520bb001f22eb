"""Sizes of a text encoder: the library's configuration, and how long texts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from compressor.families.library_dims import LibraryDims
from compressor.families.text_encoder.sentence_head import SentenceHead

TEXT_LENGTH = 128


class TextDims(LibraryDims):
    """Sizes of a text encoder.

    ``text_length`` is the most tokens a text is cut to, 128 as GLUE recipes do (the paper's Table C counts 512).
    ``sentence`` is what makes a vector of an embedder's tokens, ``classes`` the width of that; None of other models.
    """

    images: NonNegativeInt = 0
    text_length: PositiveInt = TEXT_LENGTH
    sentence: SentenceHead | None = None

    @property
    def sentence_head(self) -> SentenceHead:
        """What makes a vector of the tokens; where nothing says so their mean, as in sentence-transformers."""
        return self.sentence or SentenceHead()

    @property
    def embedded(self) -> int:
        """Width of the embeddings; where it is another than that of the stream, they are projected."""
        return getattr(self.library, "embedding_size", self.hidden)

    @property
    def text_vocabulary(self) -> int:
        """Rows of the word embedding."""
        return self.library.vocab_size

    @property
    def text_types(self) -> int:
        """Token types: rows of their embedding, 1 without one."""
        return getattr(self.library, "type_vocab_size", 1)

    @property
    def text_padding(self) -> int | None:
        """Id of the padding token."""
        return self.library.pad_token_id

    @property
    def prompts(self) -> Mapping[str, str]:
        """What texts that are embedded begin with, by name; '' names the default, where there is one."""
        if self.sentence is None:
            return {}
        said = self.sentence
        default = said.prompts.get(said.default_prompt or "", "")
        return {**said.prompts, **({"": default} if default else {})}

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.library.max_position_embeddings


class RobertaDims(TextDims):
    """Sizes of a RoBERTa (Liu et al., 2019) or a relative of it; the defaults are roberta-base with two classes."""

    config: Mapping[str, Any] = {
        "model_type": "roberta",
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have: positions are counted from the one after the padding token's."""
        return self.library.max_position_embeddings - self.library.pad_token_id - 1

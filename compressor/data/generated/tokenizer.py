"""A tokenizer of whole words for generated texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors


@dataclass(frozen=True)
class _Style:
    """Special tokens in the order of their ids, which of them is unknown, and how texts and pairs are wrapped."""

    special: tuple[str, ...]
    unknown: str
    single: str
    pair: str


STYLES = {
    "<s>": _Style(("<s>", "<pad>", "</s>", "<unk>"), "<unk>", "<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "[CLS]": _Style(("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "[UNK]", "[CLS] $A [SEP]", "[CLS] $A:0 [SEP]:0 $B:1 [SEP]:1"),
}


def word_tokenizer(texts: Iterable[str], style: str = "<s>") -> Tokenizer:
    """Return a tokenizer of the words in ``texts``, with special tokens.

    Args:
        texts: lower case or not; punctuation marks are words of their own.
        style: named by the token in front of a text: <s> (<s> 0, <pad> 1, </s> 2, <unk> 3) as RoBERTa has it, or [CLS]
            ([PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3) as BERT does.
    """
    wrap = STYLES[style]
    normalise, split = normalizers.Lowercase(), pre_tokenizers.Split(Regex(r"\s+|(?=[?,.!])"), "removed")
    words = sorted({w for t in texts for w, _ in split.pre_tokenize_str(normalise.normalize_str(t)) if w})
    vocabulary = {word: number for number, word in enumerate([*wrap.special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=wrap.unknown))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalise, split
    tokenizer.post_processor = processors.TemplateProcessing(
        single=wrap.single, pair=wrap.pair, special_tokens=[(token, vocabulary[token]) for token in wrap.special]
    )
    return tokenizer

"""METER's text embeddings: the library's, of texts of one token type."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.bert.modeling_bert import BertEmbeddings
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

from compressor.families.embeddings import UntypedEmbeddings, from_the_start, untyped_roberta


class RobertaWords(RobertaEmbeddings):
    """RoBERTa's embeddings of texts of one token type."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        return super().forward(input_ids, token_type_ids=torch.zeros_like(input_ids))

    def untyped(self) -> UntypedEmbeddings:
        """Return the same without the token type."""
        return untyped_roberta(self)


class BertWords(BertEmbeddings):
    """BERT's embeddings of texts of one token type."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        types, positions = torch.zeros_like(input_ids), from_the_start(input_ids)
        return super().forward(input_ids, token_type_ids=types, position_ids=positions)

    def untyped(self) -> UntypedEmbeddings:
        """Return the same without the token type."""
        return UntypedEmbeddings(self, from_the_start)

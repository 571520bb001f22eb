"""BERT and the encoders that have its layout: RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from compressor.families.family import ATTENTION_MASK, INPUT_IDS, Family
from compressor.families.library_parts import BertAttention, BertFeedForward, halves
from compressor.families.text_encoder.text_dims import RobertaDims, TextDims
from compressor.families.text_encoder.text_family import encoder_family, text_encoder_macs
from compressor.families.text_encoder.text_modules import BertEncoderLayer, RobertaPrologue


class BertDims(TextDims):
    """Sizes of a BERT (Devlin et al., NAACL 2019); the defaults are bert-base-uncased with two classes."""

    config: Mapping[str, Any] = {"model_type": "bert"}


class XlmRobertaDims(RobertaDims):
    """Sizes of an XLM-RoBERTa (Conneau et al., ACL 2020); the defaults are xlm-roberta-base with two classes."""

    config: Mapping[str, Any] = {
        "model_type": "xlm-roberta",
        "vocab_size": 250002,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }


class CamembertDims(RobertaDims):
    """Sizes of a CamemBERT (Martin et al., ACL 2020); the defaults are camembert-base with two classes."""

    config: Mapping[str, Any] = {
        "model_type": "camembert",
        "vocab_size": 32005,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }


class ElectraDims(TextDims):
    """Sizes of an ELECTRA (Clark et al., ICLR 2020); the defaults are electra-base-discriminator with two classes."""

    config: Mapping[str, Any] = {
        "model_type": "electra",
        "embedding_size": 768,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    }


BERT_PARTS = halves(BertAttention, BertFeedForward, reads=(0, 1), layer=lambda block: block.layer)

BERT = encoder_family(
    "bert",
    BertDims,
    lambda model: nn.Sequential(model.bert.pooler, model.dropout),
    "classifier.weight",
    library="Bert",
    keys=(("bert.pooler.", "epilogue.pooler.0."),),
    other_heads={
        "mlm": "cls.predictions.",
        "next-sentence": "cls.seq_relationship.",
        "question-answering": "qa_outputs.",
    },
    block=BertEncoderLayer,
    parts=BERT_PARTS,
    formula=text_encoder_macs,
)

roberta_family = partial(
    encoder_family,
    pooler=lambda model: nn.Identity(),
    class_rows="classifier.out_proj.weight",
    prefix="roberta",
    other_heads={"mlm": "lm_head.", "question-answering": "qa_outputs."},
    inputs=(INPUT_IDS, ATTENTION_MASK),
    prologue=RobertaPrologue,
    block=BertEncoderLayer,
    parts=BERT_PARTS,
    formula=text_encoder_macs,
)
ROBERTA = roberta_family("roberta", RobertaDims, library="Roberta")
XLM_ROBERTA = roberta_family("xlm-roberta", XlmRobertaDims, library="XLMRoberta")
CAMEMBERT = roberta_family("camembert", CamembertDims, library="Camembert")

ELECTRA = encoder_family(
    "electra",
    ElectraDims,
    lambda model: nn.Identity(),
    "classifier.out_proj.weight",
    library="Electra",
    other_heads={
        "mlm": "generator_",
        "replaced-tokens": "discriminator_predictions.",
        "question-answering": "qa_outputs.",
    },
    block=BertEncoderLayer,
    parts=BERT_PARTS,
    formula=text_encoder_macs,
)

BERT_FAMILIES: tuple[Family, ...] = (ROBERTA, BERT, XLM_ROBERTA, CAMEMBERT, ELECTRA)

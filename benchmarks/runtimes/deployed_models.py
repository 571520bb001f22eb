"""The models of ``benchmarks.runtimes.best_deployment``: real sizes, random weights, texts as long as asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper import meter_full_size
from compressor.architectures.vilt import ViltDims
from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.generated.sentiments import write_sentences
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.families import FAMILIES
from compressor.families.text_encoder.bert_families import BertDims

QUESTIONS = {"train": 4, "val": 2, "test": 100}  # images, with two questions each
VILT = ViltDims(dropout=0.0)


@dataclass(frozen=True)
class Deployed:
    """A model to be deployed.

    Attributes:
        title: for people.
        checkpoint: name of what ``prepare`` writes, beside a folder ``data``.
        task: of it.
        layers: that slim is without.
        shapes: of calls: batch, and tokens; None leaves texts as they are.
        prepare: writes checkpoint, tokenizer and data into a folder.
        exported: whether transformers' own exporters take it.
    """

    title: str
    checkpoint: str
    task: str
    layers: str
    shapes: tuple[tuple[int, int | None], ...]
    prepare: Callable[[Path], None]
    exported: bool = False


def prepare_vilt(work: Path) -> None:
    """ViLT-B/32 with a VQA v2 head."""
    meter_full_size.prepare_data(work, VILT.image_size, QUESTIONS)
    torch.manual_seed(0)
    config = {
        "num_heads": VILT.heads,
        "max_text_len": VILT.text_length,
        "drop_rate": 0.0,
        "image_size": VILT.image_size,
    }
    save_public_checkpoint(FAMILIES["vilt"].build(VILT, "vqa").eval(), work / "vilt.ckpt", config)


def bert_config(hidden: int, layers: int, vocabulary: int = 30522) -> dict[str, Any]:
    """The config.json of a BERT with heads of 64, or of a twelfth of a smaller width."""
    return {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def prepare_bert(work: Path, config: Mapping[str, Any], tokens: int = 128, texts: int = 200) -> None:
    """A BERT that classifies, and texts of so many tokens."""
    torch.manual_seed(0)
    dims = BertDims(config=dict(config), classes=2, text_length=tokens)
    model = FAMILIES["bert"].build(dims, "text-classification")
    kind = {
        "architectures": ["BertForSequenceClassification"],
        "label2id": {"negative": 0, "positive": 1},
        "id2label": {0: "negative", 1: "positive"},
    }
    save_public_checkpoint(model.eval(), work / "bert", {**config, **kind})
    write_sentences(work / "data", texts, seed=0)
    sentences = []
    for file in (work / "data").glob("*.tsv"):
        header, *lines = file.read_text().splitlines()
        pairs = [line.split("\t") for line in lines]
        file.write_text("\n".join([header, *(f"{' '.join([text] * tokens)}\t{label}" for text, label in pairs), ""]))
        sentences += [text for text, _ in pairs]
    word_tokenizer(sentences, "[CLS]").save(str(work / "bert" / "tokenizer.json"))


MODELS: Mapping[str, Deployed] = {
    "meter": Deployed(
        "METER, 384 px, k = 8", "meter.ckpt", "vqa", meter_full_size.LAYERS, ((1, None),), meter_full_size.prepare
    ),
    "vilt": Deployed("ViLT-B/32, 384 px, k = 4", "vilt.ckpt", "vqa", "En2,En5,En8,En10", ((1, None),), prepare_vilt),
    "bert": Deployed(
        "BERT-base, 12 layers, k = 4",
        "bert",
        "text-classification",
        "En2,En5,En8,En10",
        ((1, 128), (8, 128)),
        lambda work: prepare_bert(work, bert_config(768, 12)),
        exported=True,
    ),
    "minilm": Deployed(
        "MiniLM, 6 layers, k = 2",
        "bert",
        "text-classification",
        "En2,En4",
        ((1, 40), (8, 128)),
        lambda work: prepare_bert(work, bert_config(384, 6)),
        exported=True,
    ),
}
TINY = replace(
    MODELS["minilm"],
    title="tiny",
    shapes=((2, 8),),
    prepare=lambda work: prepare_bert(work, bert_config(48, 6, 200), tokens=8, texts=20),
)

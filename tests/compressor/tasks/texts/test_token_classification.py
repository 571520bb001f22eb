"""A tag for every word: its data, where it is asked for, the models of every family, entities, and the commands."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    BertTokenizer,
)

from compressor.checkpoints.check_family import check_family
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.text import TextTransform
from compressor.data.types import Transforms
from compressor.tasks import TASKS
from compressor.tasks.texts.tagged_split import TaggedSplit
from compressor.tasks.texts.token_classification import count_entities, entity_f1, share_of_tags, tag_loss, usual_tags
from tests.support.command_line import das

TASK = TASKS["token-classification"]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["ada", "love", "paris", "is", "in", "a", "the", "##lace", "day"],
]
NAMES = ["O", "B-PER", "I-PER", "B-LOC"]
CONLL = "-DOCSTART- -X- O\n\nAda NNP B-PER\nLovelace NNP I-PER\nin IN O\nParis NNP B-LOC\n\nthe DT O\nday NN O\n"
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
OWN = {
    "roberta": {"max_position_embeddings": 22, "type_vocab_size": 1},
    "electra": {"embedding_size": 24},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "mpnet": {"max_position_embeddings": 22},
    "albert": {"embedding_size": 24},
    "deberta-v2": {"relative_attention": True, "position_buckets": 4, "pos_att_type": ["c2p", "p2c"]},
    "modernbert": {"pad_token_id": 3, "local_attention": 6, "global_attn_every_n_layers": 2},
}


def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})


def split_of(root, length=16, labels=None):
    dataset = read_data(root, "token-classification")
    dataset = align_labels(dataset, labels or dataset.labels, TASK)
    text = TextTransform(tokenizer()._tokenizer, length, len(WORDS))
    return dataset.labels, TaggedSplit("train", dataset.splits["train"], Transforms(text, None), len(NAMES), 0)


@pytest.fixture
def conll(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(CONLL * 12)
    return tmp_path


@pytest.mark.parametrize("name", ["bert", *OWN])
def test_a_model_of_the_library_has_the_same_logits_at_every_token(name):
    config = AutoConfig.for_model(name, num_labels=5, **{**SIZES, "max_position_embeddings": 20, **OWN.get(name, {})})
    check_family(AutoModelForTokenClassification.from_config(config))


def test_a_tag_is_asked_for_at_the_first_token_of_its_word(conll):
    labels, split = split_of(conll, labels=tuple(NAMES))
    assert labels == split.records.names == tuple(NAMES)
    assert [sample.text for sample in split.samples[:2]] == ["Ada Lovelace in Paris", "the day"]
    # [CLS] ada love ##lace in paris [SEP]
    assert split.targets([0, 1]).tolist() == [[0, 2, 3, 0, 1, 4, 0], [0, 1, 1, 0, 0, 0, 0]]
    assert split.batch([1])["input_ids"].shape == split.batch([1])["targets"].shape == (1, 4)
    _, cut = split_of(conll, length=4)
    assert cut.first_tokens([0])[0].tolist() == [1, 2, -1, -1] and (cut.targets([0]) > 0).sum() == 2


def test_padding_counts_in_no_loss_and_no_score(conll):
    _, split = split_of(conll)
    batch = split.batch([0, 1])
    logits = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    longer = torch.cat([logits, 9 * torch.ones(2, 3, 4)], 1)
    asked = batch["targets"] > 0
    expected = torch.nn.functional.cross_entropy(logits[asked], batch["targets"][asked] - 1)
    assert float(tag_loss(longer, batch)) == pytest.approx(float(expected))
    assert torch.equal(share_of_tags(longer, batch), share_of_tags(logits, batch))
    right = torch.nn.functional.one_hot((batch["targets"] - 1).clamp(min=0), 4).float()
    assert share_of_tags(right, batch).tolist() == [1, 1]


def test_lists_of_words_and_tags(tmp_path):
    rows = [
        {"tokens": ["Ada", "is", "in", "Paris"], "ner_tags": ["B-PER", "O", "O", "B-LOC"]},
        {"tokens": ["the", "day"], "ner_tags": ["O"]},
        {"tokens": ["the day"], "ner_tags": ["O"]},
        {"tokens": [], "ner_tags": []},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = read_data(tmp_path, "token-classification").splits["train"]
    assert [sample.text for sample in records.samples] == ["Ada is in Paris"]
    assert [reason.partition(": ")[2] for reason in records.unreadable] == [
        "2 words and 1 tags",
        "word 'the day' is empty, or more than one",
        "tags '[]' are no list of tags",
    ]


def test_entities_are_counted_as_seqeval_counts_them(conll):
    metrics = pytest.importorskip("seqeval.metrics")
    draw = np.random.default_rng(0)
    said, right = ([draw.integers(4, size=9).tolist() for _ in range(20)] for _ in range(2))
    names = [[[NAMES[tag] for tag in tags] for tags in side] for side in (right, said)]
    assert entity_f1(count_entities(said, right, NAMES)) == pytest.approx(metrics.f1_score(*names))
    _, split = split_of(conll)
    assert usual_tags(split, split) == 1.0


def test_the_commands_take_tags(conll, monkeypatch):
    pytest.importorskip("seqeval")
    monkeypatch.chdir(conll)
    torch.manual_seed(0)
    small = {**SIZES, "vocab_size": len(WORDS), "num_hidden_layers": 2, "max_position_embeddings": 12}
    model = BertForTokenClassification(BertConfig(**small, id2label=dict(enumerate(NAMES))))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained("model")
    tokenizer().save_pretrained("model")
    assert choose_task(recognise("model"), None) == "token-classification"
    given = ("--data", ".", "--layers", "En1", "--recover", "closed-form", "--json")
    report = json.loads(das("compress", "model", *given).stdout)
    assert report["slim"]["metric"] == "entity F1" and {"precision", "recall", "tags right"} <= {
        *report["slim"]["parts"]
    }
    assert das("save", "runs/latest", "--to", "saved").exit_code == 0
    (export,) = json.loads(das("export", "--onnx", "--json").stdout)["exports"]
    assert export["parity"]["status"] == "passed"
    assert export["parity"]["certificate"]["metric"]["metric"] == "tags right"
    answers = json.loads(das("predict", "runs/latest", "--text", "ada is in paris", "--json").stdout)["answers"]
    assert all(entry["answer"].split(": ")[0] in ("PER", "LOC") for entry in answers)

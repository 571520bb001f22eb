"""Labels are the answers that transformers gives: however a model and its data name them, all of them are right."""

import json
import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

from compressor.jobs.prepare_job import prepare_job
from compressor.progress import Progress
from compressor.settings import Settings
from tests.support.command_line import das, stopped
from tests.support.data_files import png, put, write_columns
from tests.support.once import once

WORDS = [f"w{number}" for number in range(40)]
CLASSES = 12
TEXTS = [" ".join(random.Random(number).choices(WORDS, k=6)) for number in range(240)]
IN_ORDER = tuple(map(str, range(CLASSES)))
TEXT_ORDER = tuple(sorted(IN_ORDER))
LETTERS = tuple("abcdefghijkl")


def write_model(folder):
    """Write a random BERT of 12 classes, each of which it gives, its tokenizer, and its answers to the texts."""
    torch.manual_seed(0)
    known = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(known), max_position_embeddings=10, num_labels=CLASSES, **sizes)
    model = BertForSequenceClassification(config).eval()
    tokens = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    ids = torch.tensor([tokens.encode(text).ids for text in TEXTS])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
        model.classifier.weight /= model(ids).logits.std(0)[:, None]
        model.classifier.bias -= model(ids).logits.mean(0)
        answers = model(ids).logits.argmax(-1).tolist()
    assert len(set(answers)) == CLASSES
    model.save_pretrained(folder / "model")
    tokens.save(str(folder / "model" / "tokenizer.json"))
    (folder / "answers.json").write_text(json.dumps(answers))


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """The numbers of the classes that the model gives the texts; it lies in the current folder."""
    made = once("model-of-12-classes", write_model)
    (tmp_path / "model").mkdir()
    for path in (made / "model").iterdir():
        (tmp_path / "model" / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return json.loads((made / "answers.json").read_text())


def configure(path, **changes):
    """Change a config.json; None leaves a setting out."""
    config = {key: value for key, value in (json.loads(path.read_text()) | changes).items() if value is not None}
    path.unlink()
    path.write_text(json.dumps(config))


def name_classes(path, names):
    named = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    configure(path / "model" / "config.json", **named)


def write(root, labels, name="test.jsonl"):
    write_columns(
        root / "data", name, [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]
    )


def evaluated(*arguments):
    done = das("eval", "model", "--data", "data", "--json", *arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout), " ".join(done.stderr.split())


DRESSES = {
    "numbers": int,
    "decimals": float,
    "text": str,
    "text of decimals": lambda number: f"{number}.0",
    "as transformers names them": lambda number: f"LABEL_{number}",
}


FROM_ONE = tuple(str(number + 1) for number in range(CLASSES))


@pytest.mark.parametrize(
    ("names", "dress"),
    [*zip((None, IN_ORDER, TEXT_ORDER, FROM_ONE, LETTERS), DRESSES, strict=True), (TEXT_ORDER, "numbers")],
)
def test_a_model_that_is_asked_in_its_own_numbers(tmp_path, answers, names, dress):
    numbers = answers
    if names:
        name_classes(tmp_path, names)
        numbers = answers if names is LETTERS else [int(names[answer]) for answer in answers]
    write(tmp_path, [DRESSES[dress](number) for number in numbers])
    assert evaluated()[0]["value"] == 1


@pytest.mark.parametrize("case", [str.upper, " {} ".format])
def test_a_model_that_is_asked_in_its_own_words(tmp_path, answers, case):
    name_classes(tmp_path, LETTERS)
    write(tmp_path, [case(LETTERS[answer]) for answer in answers], "test.csv")
    assert evaluated()[0]["value"] == 1


def test_a_model_that_lacks_a_name(tmp_path, answers):
    named = {number: name for number, name in enumerate(LETTERS) if number != 3}
    configure(tmp_path / "model" / "config.json", id2label=named, label2id=None)
    write(tmp_path, answers)
    found, said = evaluated()
    assert found["value"] == 1
    assert "names 11 of 12 classes, not <class 3>" in said
    write(tmp_path, [LETTERS[answer] for answer in answers])
    stopped(das("eval", "model", "--data", "data"), 3, "classes-named-otherwise", "the data has d")


def test_labels_that_are_counted_from_one(tmp_path, answers):
    for names in (None, LETTERS):
        if names:
            name_classes(tmp_path, names)
        write(tmp_path, [answer + 1 for answer in answers])
        stopped(das("eval", "model", "--data", "data"), 3, "label-beyond-head", "label 12", "counted from 1, to 12")


def test_names_that_contradict_each_other_and_names_of_other_weights(tmp_path, answers):
    write(tmp_path, answers)
    config, names = tmp_path / "model" / "config.json", dict(enumerate(LETTERS))
    configure(config, id2label=names, label2id={"b": 0, "a": 1})
    stopped(das("eval", "model", "--data", "data"), 3, "class-names-contradict")
    configure(config, id2label=names | {12: "m"}, label2id=None)
    stopped(das("eval", "model", "--data", "data"), 3, "class-names-beyond-head")


def test_labels_that_are_scores(tmp_path, answers):
    write(tmp_path, [answer + 0.5 for answer in answers])
    stopped(das("eval", "model", "--data", "data"), 3, "too-many-unusable-rows", "is no class")


class Heard(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_questions_whose_answers_the_model_cannot_give(workshop):
    for split in ("train", "val"):
        rows = [{"question": f"what {n}?", "answer": n % 3, "image": f"{n % 6}.png"} for n in range(90)]
        write_columns(workshop / "counts", f"{split}.jsonl", rows)
    for n in range(6):
        put(workshop / "counts" / f"{n}.png", png(n))
    put(workshop / "counts" / "answers.txt", "1\n")
    for command in ("compress", "--skip", 1, "--dry-run"), ("eval",):
        done = das(*command, "meter.ckpt", "--task", "vqa", "--data", "counts")
        assert done.exit_code == 0, done.stderr
        said = " ".join((done.stdout + done.stderr).split())
        assert "60 left out: no answer of theirs is among the classes; these are many: is this the data" in said
    heard = Heard()
    prepare_job(Settings(checkpoint="meter.ckpt", task="vqa", skip=1, data="counts"), heard)
    assert "train: 60 left out: no answer of theirs is among the classes; these are many" in heard.said[0]
    put(workshop / "counts" / "answers.txt", "red\n")
    stopped(
        das("eval", "meter.ckpt", "--task", "vqa", "--data", "counts"),
        3,
        "split-missing",
        "90 questions have no answer",
    )

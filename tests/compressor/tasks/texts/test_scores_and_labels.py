"""Texts with a score, and with several labels: their data, their heads, their scores, and the commands on them."""

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.data.read_data import read_data
from compressor.errors import InputError
from compressor.tasks import TASKS
from compressor.tasks.texts.multi_label import f1_of_labels, macro_f1, micro_f1, share_of_labels, usual_labels
from compressor.tasks.texts.regression import closeness, correlations
from tests.support.command_line import das, refused

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["good", "bad", "film", "plot", "day", "song", "the", "a"]]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SIZES |= {"vocab_size": len(WORDS), "max_position_embeddings": 12}
HEADS = {
    "regression": {"num_labels": 1},
    "multi-label-classification": {"num_labels": 3, "problem_type": "multi_label_classification"},
}
NAMES = {"id2label": {0: "joy", 1: "anger", 2: "film"}}


class Targets:
    """A split of which only the targets are asked for."""

    def __init__(self, rows):
        self.rows = torch.tensor(rows, dtype=torch.float32)

    def __len__(self):
        return len(self.rows)

    def targets(self, indices):
        return self.rows[list(indices)]


def save(folder, **settings):
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SIZES, **settings)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    return model


def write(folder, header, rows):
    folder.mkdir(exist_ok=True)
    for split in ("train", "val", "test"):
        (folder / f"{split}.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture
def talk():
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(WORDS[5:], size=draw.integers(2, 7))) for _ in range(24)]


def test_correlations_are_those_worked_by_hand():
    said, right = torch.tensor([[1.0], [2.0], [3.0], [10.0]]), Targets([[0.0], [1.0], [1.0], [2.0]])
    found = correlations(said, right)
    # Ranks 1 2 3 4 and 1 2.5 2.5 4: sum of products 4.5, of squares 5 and 4.5.
    assert found.value == pytest.approx(4.5 / (5 * 4.5) ** 0.5)
    assert found.parts["Pearson"] == pytest.approx(9 / (50 * 2) ** 0.5)
    assert found.each.mean() == pytest.approx(found.value) and found.samples == 4
    assert correlations(torch.ones(4, 1), right).value == 0.0
    assert closeness(torch.tensor([[2.0], [0.5]]), {"targets": torch.tensor([[1.0], [0.5]])}).tolist() == [0.5, 1.0]


def test_f1_is_that_worked_by_hand():
    logits = torch.tensor([[1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    right = Targets([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    found = f1_of_labels(logits, right)
    assert found.value == pytest.approx(2 * 2 / (3 + 3))  # two of three given are right, two of three right are given
    assert found.parts == {"macro F1": pytest.approx(2 / 3 * 2 / 3), "all labels right": pytest.approx(1 / 3)}
    assert share_of_labels(logits, {"targets": right.rows}).tolist() == pytest.approx([1, 2 / 3, 2 / 3])
    nothing = np.zeros((2, 2), bool)
    assert (micro_f1(nothing, nothing), macro_f1(nothing, nothing)) == (0.0, 0.0)


def test_the_guesser_gives_the_labels_that_pay_in_training():
    train = Targets([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1]])  # 1 alone .73, with 2 .86, with 3 .78
    assert usual_labels(train, Targets([[1, 1, 0], [0, 1, 1]])) == pytest.approx(2 * 3 / (4 + 4))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", "text,joy,anger,film\na good film,1,0,1\na day,0,0,0\nbad,0,1,maybe\n" + 9 * "bad,0,1,0\n"),
        ("train.jsonl", "".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in [
            ("a good film", ["joy", "film"]), ("a day", []), ("bad", ["anger"]), ("what", None)])),
        ("train.csv", 'text,labels\na good film,"[""joy"", ""film""]"\na day,[]\nbad,"[""anger""]"\nwhat,joy\n'),
    ],
    ids=["columns of 0 and 1", "lists", "lists as JSON"],
)  # fmt: skip
def test_labels_are_lists_or_columns_of_0_and_1(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    found = read_data(tmp_path, "multi-label-classification")
    records = found.splits["train"]
    right = [[found.labels[i] for i, score in enumerate(sample.scores) if score] for sample in records.samples]
    assert [sorted(labels) for labels in right][:2] == [["film", "joy"], []]  # a text without labels counts
    assert sorted(found.labels) == ["anger", "film", "joy"] and len(records.unreadable) == 1
    assert all(len(sample.scores) == 3 for sample in records.samples)


def test_a_column_of_0_and_1_beside_a_list_is_none_of_the_labels(tmp_path):
    (tmp_path / "train.csv").write_text('text,seen,labels\na,1,"[""x""]"\nb,0,"[""y""]"\n')
    assert read_data(tmp_path, "multi-label-classification").labels == ("x", "y")


def test_scores_are_read_in_their_own_units(tmp_path):
    rows = ["score\tsentence1\tsentence2", "4.4\tgood film\tgood", "nan\ta\tb", "much\ta\tb", "0\tbad\tday"]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    records = read_data(tmp_path, "regression").splits["train"]
    assert [(sample.second, sample.scores) for sample in records.samples] == [("good", (4.4,)), ("day", (0.0,))]
    assert len(records.unreadable) == 2


@pytest.mark.parametrize("task", HEADS)
def test_the_head_that_config_json_declares_is_taken(tmp_path, task):
    library = save(tmp_path, **HEADS[task])
    found = recognise(tmp_path)
    assert (found.heads, found.tasks, choose_task(found, None)) == ((task,), (task,), task)
    loaded = load_checkpoint(found).model
    ids = torch.tensor([[2, 5, 7, 3]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs), library(**inputs).logits, atol=1e-5, rtol=0)
    with refused(InputError, "head-missing", "has no head for text-classification", f"has heads for: {task}"):
        choose_task(found, "text-classification")


def test_a_head_that_declares_nothing_may_give_several_labels_and_no_score(tmp_path):
    save(tmp_path, num_labels=3)
    found = recognise(tmp_path)
    assert choose_task(found, None) == "text-classification"
    assert choose_task(found, "multi-label-classification") == "multi-label-classification"
    with refused(InputError, "head-missing", "BertForSequenceClassification"):
        choose_task(found, "regression")


def test_the_commands_take_a_score(tmp_path, monkeypatch, talk):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model", **HEADS["regression"])
    write(tmp_path / "data", "sentence,score", [f"{text},{len(text) / 4}" for text in talk])
    value = json.loads(das("eval", "model", "--data", "data", "--json").stdout)
    given = ("compress", "model", "--layers", "En1", "--recover", "closed-form", "--json")
    report = json.loads(das(*given, "--data", "data").stdout)
    assert report["full"]["value"] == pytest.approx(value["value"]) and report["answer_agreement"] is None
    assert report["full"]["metric"] == "Spearman correlation" and "Pearson" in report["slim"]["parts"]
    assert "is of all sentences together" in das("compare", "runs/latest", "--json").stdout or report["flips"] is None
    answer = json.loads(das("predict", "runs/latest", "--text", "good film", "--json").stdout)["answers"][0]
    assert answer["answer"] == "score" and isinstance(answer["score"], float)
    taught = json.loads(das(*given, "--calibration", "data", "--out", "taught").stdout)
    assert taught["full"]["value"] == pytest.approx(1) and taught["full"]["metric"].endswith("with the full model")
    assert das("save", "runs/latest", "--to", "saved").exit_code == 0
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["problem_type"] == "regression"


def test_the_commands_take_several_labels(tmp_path, monkeypatch, talk):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model", **HEADS["multi-label-classification"], **NAMES)
    rows = [f"{text},{'good' in text:d},{'bad' in text:d},{'film' in text:d}" for text in talk]
    write(tmp_path / "data", "text,joy,anger,film", rows)
    given = ("compress", "model", "--data", "data", "--layers", "En1", "--recover", "closed-form", "--json")
    report = json.loads(das(*given).stdout)
    assert report["slim"]["metric"] == "micro F1" and 0 <= report["answer_agreement"] <= 1
    (export,) = json.loads(das("export", "--onnx", "--json").stdout)["exports"]
    assert export["parity"]["certificate"]["metric"]["metric"] == "labels right"
    assert export["parity"]["certificate"]["against_slim"]["answer_agreement"] == 1.0
    answers = json.loads(das("predict", "runs/latest", "--text", "good film", "--top", 3, "--json").stdout)["answers"]
    assert {entry["answer"] for entry in answers} == {"joy", "anger", "film"}
    assert sum(entry["probability"] for entry in answers) != pytest.approx(1)
    assert das("save", "runs/latest", "--to", "saved").exit_code == 0
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert TASKS["multi-label-classification"].purposes[0] == "multi-label-classification"

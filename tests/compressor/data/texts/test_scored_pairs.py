"""Pairs of texts with scores of how alike they are."""

from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import read_unlabelled
from compressor.tasks import TASKS
from tests.support.data_files import put

HEAD = "score\tsentence1\tsentence2\n"


def test_each_text_is_a_sample_and_pairs_are_judgements(tmp_path):
    put(tmp_path / "train.tsv", HEAD + '5.0\ta cat\ta "cat"\n0.25\ta dog\ta cat\n')
    put(tmp_path / "dev.tsv", HEAD + "1\tone\ttwo\nnone\tone\tthree\nnan\tone\tfour\n")
    data = read_data(tmp_path, "embedding")
    train = data.splits["train"]
    assert [sample.text for sample in train.samples] == ["a cat", 'a "cat"', "a dog"]
    assert train.judgements.pairs == ((0, 1), (2, 0)) and train.judgements.scores == (5.0, 0.25)
    assert all(not sample.labels and sample.second is None for sample in train.samples)
    assert [reason.partition(": ")[2] for reason in data.splits["val"].unreadable] == [
        "score 'none' is no number",
        "score nan is no number",
    ]


def test_columns_may_be_named(tmp_path):
    put(tmp_path / "train.csv", "left,right,how\nx,y,3\n")
    put(tmp_path / "test.csv", "left,right,how\nx,z,3\n")
    columns = {"text": "left", "second": "right", "label": "how"}
    data = read_data(tmp_path, "embedding", columns=columns)
    assert [sample.text for sample in data.splits["test"].samples] == ["x", "z"]


def test_texts_without_scores_are_read_from_pairs_corpora_and_lines(tmp_path):
    """Of every kind each text counts once; a line of a .txt file is a text."""
    pairs, corpus, plain = (tmp_path / name for name in ("pairs", "corpus", "plain"))
    put(pairs / "any.tsv", HEAD + "5.0\ta cat\tthe cat\n0\ta dog\ta cat\n")
    put(corpus / "corpus.jsonl", '{"_id": "1", "title": "wings", "text": "lift"}\n{"_id": "2", "text": "heat"}\n')
    put(corpus / "queries.jsonl", '{"_id": "1", "text": "what lifts?"}\n')
    put(plain / "some.txt", "first line\n\nsecond, line\nfirst line\n")
    texts = {root: [s.text for s in read(root).samples] for root in (pairs, corpus, plain)}
    assert texts[pairs] == ["a cat", "the cat", "a dog"]
    assert texts[corpus] == ["wings lift", "heat", "what lifts?"]
    assert texts[plain] == ["first line", "second, line"]


def read(root):
    (records,) = read_unlabelled(root, TASKS["embedding"]).splits.values()
    return records

"""A cross-encoder of sentence-transformers from its folder to a slim one, by the commands."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from compressor.checkpoints.recognise import choose_task, recognise
from compressor.errors import InputError
from compressor.saved_run.run_folder import open_run
from compressor.tasks.reranking.list_measures import average_precision
from tests.support import saved_runs
from tests.support import tiny_models as tiny
from tests.support.command_line import das, lines_of, refused, stopped
from tests.support.data_files import write_columns

FILES = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.Transformer"}],
    "config_sentence_transformers.json": {
        "model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity", "prompts": {},
    },
    "sentence_bert_config.json": {"transformer_task": "sequence-classification"},
}  # fmt: skip


def write_encoder(folder, classes=1, files=FILES, **settings):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=tiny.LENGTH, num_labels=classes, initializer_range=0.5, **settings,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    saved_runs.words().save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def write_pairs(root, labelled=True):
    """Queries of a word each with five passages of two words, spread over the file; one or two are relevant."""
    rng = np.random.default_rng(0)
    for split, queries in (("train", 20), ("dev", 6), ("test", 6)):
        rows = [
            {"query": f"w{q}", "passage": f"w{rng.integers(20, 34)} w{p}", "label": int(p < 1 + q % 2)}
            for p in range(5)
            for q in range(queries)
        ]
        rows = rows if labelled else [{name: row[name] for name in ("query", "passage")} for row in rows]
        write_columns(root, f"{split}.csv", rows)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranked")
    write_pairs(root / "data")
    write_encoder(root / "encoder")
    plain = "--replace", "none", "--recover", "full", "--recover-epochs", "0.2", "--batch-size", "16"
    done = das("compress", root / "encoder", "--data", root / "data", "--skip", "1", *plain, "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root


def test_the_score_is_that_of_its_answers(ranked):
    run = open_run(ranked / "run")
    score, answers = run.manifest.results.slim, run.answers()
    grades, queries = answers["targets"].unbind(-1)
    said = answers["slim"][:, 0]
    each = [
        average_precision(grades[queries == q][said[queries == q].argsort(descending=True)].numpy()) for q in range(6)
    ]
    assert (score.metric, score.unit, score.samples) == ("MAP", "queries", 6)
    assert score.value == pytest.approx(np.mean(each)) and set(score.parts) == {"MRR@10", "NDCG@10"}
    assert 0.3 < run.manifest.results.floor < 0.7 and run.labels() == ("relevance",)


def test_it_predicts_scores_and_is_saved_as_it_came(ranked, tmp_path):
    run = ranked / "run"
    (said,) = lines_of(das("predict", run, "--pair", "w1", "w30 w1", "--json"))
    (answer,) = said["answers"]
    assert answer["answer"] == "relevance" and answer["probability"] is None and isinstance(answer["score"], float)
    assert das("save", run, "--to", tmp_path / "slim").exit_code == 0
    for name, content in FILES.items():
        assert json.loads((tmp_path / "slim" / name).read_text()) == content
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "slim").eval()
    assert model.config.num_hidden_layers == 2 and model.config.num_labels == 1
    inputs = open_run(run).samples()
    with torch.no_grad():
        assert torch.allclose(
            model(**inputs).logits, open_run(run).answers()["slim"][: len(inputs["input_ids"])], atol=1e-6
        )
    assert "text-ranking" in (tmp_path / "slim" / "README.md").read_text()


def test_without_labels(ranked, tmp_path):
    write_pairs(tmp_path / "inputs", labelled=False)
    given = "--recover", "closed-form", "--calibration", tmp_path / "inputs", "--skip", "1"
    done = das("compress", ranked / "encoder", *given, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    results = open_run(tmp_path / "run").manifest.results
    assert results.slim.metric == "MAP with the full model" and results.full.value == 1.0 > results.slim.value
    assert results.floor < 0.7


def test_what_is_taken_for_a_reranker(tmp_path):
    """One output and a word of sentence-transformers; without it, or of two classes, it has to be said."""
    old = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.0.0"}}
    assert choose_task(recognise(write_encoder(tmp_path / "new")), None) == "reranking"
    assert choose_task(recognise(write_encoder(tmp_path / "old", files={}, **old)), None) == "reranking"
    two = recognise(write_encoder(tmp_path / "two", 2))
    assert [choose_task(two, task) for task in (None, "reranking")] == ["text-classification", "reranking"]
    plain = recognise(write_encoder(tmp_path / "plain", files={}))
    assert choose_task(plain, "reranking") == "reranking"
    with refused(InputError, "head-missing"):
        choose_task(plain, "text-classification")


def test_ids_of_a_test_server_are_for_classes(ranked, tmp_path):
    shutil.copytree(ranked / "data", tmp_path / "data")
    done = das("answers", ranked / "run", "--split", "test", "--data", tmp_path / "data", "--to", tmp_path / "a.tsv")
    stopped(done, 2, ("task-without-classes",), "reranking")

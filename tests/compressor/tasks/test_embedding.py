"""A small embedder through the commands: the full model's vectors are the labels, and its index is asked."""

import numpy as np
import pytest
import torch

from compressor.compression import compress
from compressor.data.read_data import read_data
from compressor.data.roles import make_scored
from compressor.data.types import Transforms
from compressor.errors import UsageError
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.open_data import open_for_evaluation
from compressor.settings import Settings
from compressor.tasks import TASKS
from compressor.tuning.tune import tune
from compressor.tuning.tune_settings import TuneSettings
from profiles.reports.build_report import build_report
from profiles.reports.markdown import render_report
from tests.support.command_line import das, refused
from tests.support.data_files import put, transforms, write_beir
from tests.support.embedders import WORDS, write_embedder


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(" ".join(rng.choice(WORDS, size=rng.integers(2, 7))) for _ in range(count)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An embedder, a corpus of which queries are the ends of documents, and plain texts."""
    root = tmp_path_factory.mktemp("embedding")
    write_embedder(root / "model")
    corpus = {str(n): ("", text) for n, text in enumerate(texts(60))}
    queries = {key: corpus[key][1].partition(" ")[2] for key in ("1", "2", "3", "4", "5", "6")}
    dev, test = ([(key, key, 1) for key in keys] for keys in (("1", "2"), ("3", "4", "5", "6")))
    write_beir(root / "beir", corpus, queries, dev=dev, test=test)
    put(root / "plain" / "texts.txt", "\n".join(texts(60, seed=1)) + "\n")
    return root


def settings(folder, **options):
    return Settings(checkpoint=str(folder / "model"), device="cpu", **options)


@pytest.fixture(scope="module")
def run(folder):
    """Two layers replaced in closed form, on the corpus."""
    data, out = str(folder / "beir"), str(folder / "closed")
    return compress(settings(folder, data=data, skip=2, recover="closed-form", out=out))


def test_scores_and_the_full_models_index_are_in_the_manifest(folder, run):
    """They are those of both models' vectors, and what exports are held against are the full model's."""
    found = run.manifest.results
    assert found.full.metric == found.slim.metric == "NDCG@10" and found.full.unit == "queries"
    assert found.full.samples == found.index.queries == 4 and found.full.loss < 1e-6 < found.slim.loss
    full, data, _ = open_for_evaluation(folder / "model", None, str(folder / "beir"), None)
    alone = evaluate(full, data.evaluation, TASKS["embedding"])
    assert alone.score.value == pytest.approx(found.full.value) and alone.score.loss is None
    assert found.index.full_on_full == pytest.approx(alone.score.parts["recall@10"])
    slim = evaluate(run.load_slim(), data.evaluation, TASKS["embedding"]).outputs
    again = TASKS["embedding"].across(alone.outputs, slim, data.evaluation)
    assert again.slim_on_full == pytest.approx(found.index.slim_on_full)
    assert torch.allclose(run.answers()["targets"], alone.logits, atol=1e-5)


def test_reports_and_comparisons_say_what_the_index_gives(run):
    report = render_report(build_report(run))
    assert "| slim model's queries |" in report and "On the full model's index slim queries keep" in report
    compared = das("compare", run.path, run.path)
    assert compared.exit_code == 0 and "recall@10 on full's index, %" in compared.stdout


def test_recovery_needs_no_answers_and_stays_in_the_full_models_space(folder):
    """Six layers but two, without adapters: training towards the full model's vectors brings them nearer."""

    def cosine(recover, **options):
        out = str(folder / recover)
        made = compress(
            settings(
                folder, calibration=str(folder / "plain"), layers=("En1", "En4"), replace="none", recover=recover,
                out=out, **options,
            )
        )  # fmt: skip
        results = made.manifest.results
        assert results.slim.metric == "cosine with the full model" and results.full.value == pytest.approx(1)
        return results.slim.value

    cut = cosine("none")
    assert cut < cosine("full", recover_epochs=20, batch_size=8, learning_rate=1e-3)


def test_there_is_no_head_to_adapt(folder):
    data = str(folder / "beir")
    told = ("embedding has no head to train", "--task text-classification or das compress without --adapt")
    with refused(UsageError, "task-without-head", *told):
        compress(settings(folder, data=data, skip=0, adapt=True))
    with refused(UsageError, "task-without-head", *told):
        tune(TuneSettings(checkpoint=settings(folder).checkpoint, method="bitfit", task="embedding", data=data))


def test_queries_and_documents_have_the_models_prompts(folder):
    """A prompt of one letter is a token more; a role without a prompt of its own has the default one."""
    plain = transforms()
    scored = {}
    for prompts in ({}, {"query": "the circle ", "": "red "}):
        given = Transforms(plain.text, None, prompts)
        data = make_scored(read_data(folder / "beir", "embedding"), folder, TASKS["embedding"], given, 3)
        scored[len(prompts)] = data.evaluation.lengths
    assert (scored[2] - scored[0]).tolist() == [2] * 4 + [1] * (len(scored[0]) - 4)

"""What the benchmarks of the search compute, and that they run: from the search of a small model to the page."""

import json
import math
from itertools import combinations

import numpy as np
import pytest

from benchmarks import results
from benchmarks.search import (
    equal_terms,
    half_layers,
    models,
    probe,
    ranking,
    ranking_report,
    transfer,
    transfer_report,
)
from benchmarks.search.measures import measure_subsets
from benchmarks.search.models import Setting
from benchmarks.search.published import Published, search_as_published
from benchmarks.search.rank_correlation import ceiling, estimate, kendall, ranks, spearman
from benchmarks.search.transfer_report import Scores
from benchmarks.search.units import Unit, do_units
from compressor.models.layer_parts import part_of
from compressor.models.supernet import Supernet
from compressor.progress import QUIET, Progress, Stages
from compressor.saved_run.resume import RunCheckpoint
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import draw_scored_samples, encode_calibration, select_layers
from compressor.search.strategies import STRATEGIES
from compressor.search.strategies.das_bandit import DasBandit
from compressor.search.strategies.strategy import Result, SearchSpace
from compressor.settings import Settings
from compressor.training.activation_cache import Encoded

ONE = np.zeros(10, int)  # all of one group
# Wikipedia's example of Spearman's rank correlation: IQ, and hours of television a week; rho is -29/165.
IQ = np.array([106, 100, 86, 101, 99, 103, 97, 113, 112, 110])
HOURS = np.array([7, 27, 2, 50, 28, 29, 20, 12, 6, 17])


def test_rank_correlations_of_a_known_example():
    assert spearman(IQ, HOURS, ONE) == pytest.approx(-29 / 165)
    signs = [np.sign((IQ[i] - IQ[j]) * (HOURS[i] - HOURS[j])) for i, j in combinations(range(10), 2)]
    assert kendall(IQ, HOURS, ONE) == pytest.approx(sum(signs) / 45)
    assert spearman(IQ, -IQ, ONE) == kendall(IQ, -IQ, ONE) == pytest.approx(-1)


def test_equal_values_share_their_rank():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    x, y = np.array([1, 1, 2, 3]), np.array([1, 2, 2, 3])
    assert kendall(x, y, ONE[:4]) == pytest.approx(4 / 5)  # tau-b: 4 pairs agree, 5 differ in x, 5 in y
    assert math.isnan(kendall(np.ones(4), y, ONE[:4])) and math.isnan(spearman(np.ones(4), y, ONE[:4]))


def test_within_groups_what_differs_between_them_counts_for_nothing():
    groups = np.repeat([0, 1], 5)
    x = np.array([1, 2, 3, 4, 5, 101, 102, 103, 104, 105])
    y = np.array([5, 4, 3, 2, 1, 105, 104, 103, 102, 101])
    assert spearman(x, y, groups) == kendall(x, y, groups) == pytest.approx(-1)
    assert spearman(x, y, ONE) > 0.5 and kendall(x, y, ONE) > 0


def test_an_interval_holds_the_estimate_and_grows_narrower():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    few, many = (estimate(spearman, x[:n], y[:n], np.zeros(n, int)) for n in (20, 200))
    for found in (few, many):
        assert found.low < found.value < found.high
    assert many.low < 6 / math.pi * math.asin(math.sqrt(0.5) / 2) < many.high  # of a normal pair correlated at 0.71
    assert many.high - many.low < few.high - few.low


def test_the_ceiling_is_the_root_of_what_comes_back():
    rng, n = np.random.default_rng(0), 20_000
    true, groups = rng.normal(size=(n, 1)), np.repeat([0, 1], n // 2)

    def scores(noise):  # of a seed, common to both halves, and of the samples of each half
        return true + 100 * groups[:, None] + noise * (rng.normal(size=(n, 1)) + rng.normal(size=(n, 2)))

    assert ceiling(scores(0.0), scores(0.0), groups) == pytest.approx(1)
    # Variances: 1 true, 1 of the seed, 1/2 of the mean of two halves.
    assert ceiling(scores(1.0), scores(1.0), groups) == pytest.approx(math.sqrt(1 / 2.5), abs=0.03)
    assert ceiling(rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), groups) < 0.15


def test_units_are_done_once_and_say_what_is_left(tmp_path):
    said, done = [], []

    class Told(Progress):
        def say(self, message):
            said.append(message)

    def unit(name):
        return Unit(tmp_path / "new" / name, lambda path: (done.append(name), path.write_text(name)))

    units = [unit(str(number)) for number in range(7)]
    do_units(units[:2], QUIET)
    do_units(units, Told())
    assert done == list("0123456")
    assert [message.partition(" units")[0] for message in said] == ["7 of 7"]
    with pytest.raises(ZeroDivisionError):
        do_units([Unit(tmp_path / "broken", lambda path: 1 / 0)], QUIET)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == list("0123456")


def scores_of(values):
    """Scores of the subsets of one of three layers: rows of samples of equal divergence."""
    score = np.array(values, np.float32)
    stacked = np.stack([np.zeros_like(score), np.zeros_like(score), score], 1)
    return Scores(tuple(frozenset([name]) for name in "abc"), stacked)


def test_a_choice_on_few_samples_is_judged_by_all():
    scores = scores_of([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]])
    assert scores.choose(1) == {"a"} and scores.choose(4) == {"c"}
    assert [scores.regret(subset) for subset in scores.subsets] == [50, 25, 0]
    scores.values[1, 2] = scores.values[2, 2]
    scores.values[2, 0] = 1
    assert scores.choose(4) == {"b"}  # of equal scores the least divergence


def test_choices_used_elsewhere():
    here, there = scores_of([[1, 1], [0, 0], [0, 0]]), scores_of([[0, 1], [1, 1], [0, 0]])
    assert transfer_report.moved([(here, there), (there, there)]) == (
        "0.5 of 1", "0.3", "25.00 (50.00)", "50.00", "0.00 (0.00)",
    )  # fmt: skip
    there.values[:, 0] = np.array([[0.3, 0.3], [0.0, 0.0], [0.6, 0.6]])
    assert transfer_report.moved([(here, there)])[-1] == "1.00 (1.00)"


@pytest.fixture
def small(shared_sentences, monkeypatch, tmp_path):
    """A benchmark's setting of a small RoBERTa with six layers; what it reports goes to a page of its own."""

    def settings(work, source, seed):
        checkpoint, data = shared_sentences / "roberta", shared_sentences / "data"
        return Settings(checkpoint=str(checkpoint), task="text-classification", data=str(data), seed=seed, batch_size=8)

    setting = Setting("small sentences", (2,), settings, steps=1, batch_size=8)
    for name in ("sst2", "trecqa"):
        monkeypatch.setitem(models.SETTINGS, name, setting)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "page.md")
    monkeypatch.setattr("benchmarks.search.rank_correlation.RESAMPLES", 20)
    monkeypatch.setattr("sys.argv", ["benchmarks/search/x.py", "--work", str(tmp_path)])
    return setting


def closed_form(setting, subsets):
    job = setting.open(None, None)
    supernet = Supernet(job.model, job.candidates)
    fit_adapters(supernet, encode_calibration(job, supernet, QUIET))
    held_out = Encoded(draw_scored_samples(job), with_teacher(supernet), job.device)
    return measure_subsets(supernet, held_out, subsets, QUIET)


def test_subsets_are_measured_as_the_library_scores_them(small):
    job = small.open(None, None, strategy="exhaustive")
    points = select_layers(job, RunCheckpoint(None, {}), Stages(), QUIET).result.points
    found = closed_form(small, [frozenset(point.layers) for point in points])
    expected = [[point.divergence, point.loss, point.value] for point in points]
    np.testing.assert_allclose(found.mean(2), expected, atol=1e-5)


def test_what_is_readable_is_what_the_search_reads_and_is_reported_beside_the_recovered_scores(
    small, monkeypatch, tmp_path
):
    monkeypatch.setattr("compressor.search.loop.LEAST", 4)  # of six held-out samples
    probe.measure_share(0, 1, "sst2", (0,), tmp_path, tmp_path)
    home = tmp_path / "probe" / "sst2-0"
    assert len(list(home.glob("trained-*.json"))) == 15
    scored = {frozenset(one["layers"]): one for one in json.loads((home / "scores-2.json").read_text())}
    job = small.open(None, None)
    points = select_layers(job, RunCheckpoint(None, {}), Stages(), QUIET).result.points
    found = [point for point in points if len(point.layers) == 2]
    assert found
    for point in found:
        assert scored[frozenset(point.layers)]["readable"] == pytest.approx(point.readable, abs=1e-4)
    probe.report(tmp_path)
    page = (tmp_path / "page.md").read_text()
    assert "| small sentences | 0 | 2 | 15 | " in page and "| mean, median |" in page


def test_halves_are_chosen_at_the_macs_of_whole_layers_and_reported_beside_them(small, monkeypatch, tmp_path):
    monkeypatch.setitem(half_layers.BUDGETS, "sst2", (1, 2))
    half_layers.measure_share(0, 1, "sst2", (0,), tmp_path, tmp_path)
    home = tmp_path / "half-layers" / "sst2-0"
    for size in (1, 2):
        whole, half = (
            half_layers.Trained.model_validate_json((home / f"trained-{kind}-{size}.json").read_bytes())
            for kind in ("layer", "half")
        )
        assert len(whole.layers) == size
        assert all(part_of(name) for name in half.layers)
        assert half.macs <= whole.macs + half_layers.EQUAL + 1e-9
    half_layers.report(tmp_path)
    page = (tmp_path / "page.md").read_text()
    assert "| small sentences | 1 | 1 | " in page and "| small sentences | 2 | 1 | " in page


def test_the_ranking_is_measured_and_reported_whatever_is_finished(small, monkeypatch, tmp_path):
    monkeypatch.setitem(ranking.PLANS, "sst2", ranking.Plan((1, 5), search_epochs=1))
    ranking.measure_share(0, 1, "sst2", tmp_path, tmp_path)
    home = tmp_path / "ranking" / "sst2"
    assert len(list(home.glob("search-*.json"))) == 2 and len(list(home.glob("*.0.json"))) == 12
    assert len(list(home.glob("*.1.json"))) == 4  # every third of six, of each size
    ranking_report.main()
    page = (tmp_path / "page.md").read_text()
    for measure in ranking_report.MEASURES:
        for k, subsets in (("1", 6), ("5", 6), (ranking_report.WITHIN, 12), (ranking_report.OVER, 12)):
            assert (f"| {measure.name} | {k} | {subsets} | " in page) == (
                measure.of_any_size or k != ranking_report.OVER
            )
    assert "12 subsets recovered, 4 of them twice; 2 of 2 sizes searched." in page
    assert "Not measured yet: generated scenes, METER; easy-VQA, METER." in page
    trained = json.loads((home / "En0.0.json").read_text())
    np.testing.assert_allclose(trained["halves"], [0.5, 0.5], atol=0.5)
    (home / "search-5.json").unlink()
    ranking_report.main()
    assert "1 of 2 sizes searched" in (tmp_path / "page.md").read_text()


def test_transfers_are_measured_and_reported_whatever_is_finished(small, monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "CALIBRATION", (8, 512))
    monkeypatch.setattr(transfer_report, "CALIBRATION", (8, 512))
    monkeypatch.setattr(transfer_report, "HELD_OUT", (2, 1024))
    for data in ("sst2", "trecqa"):
        monkeypatch.setitem(transfer.SIZES, data, (2,))
        transfer.measure_share(0, 1, data, tmp_path, tmp_path)
    assert len(list(tmp_path.rglob("?-*.npz"))) == 2 * 2 * 3
    kept = np.load(tmp_path / "transfer" / "sst2" / "0-512.npz")
    values = closed_form(small, [frozenset(row) for row in kept["subsets-2"].tolist()])
    assert len(values) == 15
    np.testing.assert_allclose(kept["values-2"], values, atol=1e-5)
    transfer_report.main()
    page = (tmp_path / "page.md").read_text()
    assert page.count("| small sentences | 2 | 6 | ") == 2  # pairs of seeds
    assert page.count("| small sentences | small sentences | 2 | 9 | ") == 2
    assert "| 8 to fit on | " in page and "12 of 24 fits are missing." in page
    (tmp_path / "transfer" / "trecqa" / "2-512.npz").unlink()
    transfer_report.main()
    assert "| small sentences | small sentences | 2 | 6 | " in (tmp_path / "page.md").read_text()


def test_the_published_search_is_compared_on_equal_terms(small, monkeypatch, tmp_path):
    monkeypatch.setattr(equal_terms, "COMPARED", {"sst2": small})
    equal_terms.measure_share(0, 1, "sst2", (0,), tmp_path, tmp_path)
    equal_terms.main()
    page = (tmp_path / "page.md").read_text()
    for name in ("auto (default)", "das (the paper)", "the public code's loop", "random (Table B)"):
        assert f"| {name} | " in page
    assert "auto less the public code's loop, trained: " in page and "2 of 3 runs are missing." in page
    assert "| exhaustive |" not in page


def trials_of(strategy):
    """What a strategy asks for until it is over; all subsets are equally good."""
    asked = []
    while (trial := strategy.ask()) is not None:
        asked.append(trial)
        strategy.tell([Result(subset, 0.0, 1.0, 0.5, 64) for subset in trial.subsets])
    return asked


def test_the_public_code_rewards_all_updates_on_one_batch_and_moves_its_gates_every_ten_steps():
    space = SearchSpace(6, (2,), 0, list, steps=120, warm_up=40, every=2)
    ours, public = (trials_of(kind(space)) for kind in (DasBandit, Published))
    assert [len(trial.training) for trial in public] == [41, *[10] * 7, 9]
    assert {trial.rotation for trial in public} == {0}
    assert [len(trial.training) for trial in ours][:3] == [41, 2, 2]
    assert [trial.rotation for trial in ours][:3] == [0, 1, 2]
    assert public[0] == ours[0]  # all else is the same


def test_the_public_code_s_dropout_is_on_while_it_searches_and_off_afterwards(small):
    modes = []
    job = small.open(None, None, strategy="das")
    job.model.blocks["En0"].register_forward_hook(lambda module, *_: modes.append(module.training))
    found = search_as_published(job, QUIET)
    assert found.strategy == "das" and len(found.chosen[2]) == 2
    searching = modes.index(True)
    assert not any(modes[:searching]) and all(modes[searching:-1])  # the full model is scored before and after
    assert not job.model.training and STRATEGIES["das"] is DasBandit

"""Budgets in the user's words, and compressing again from an earlier search."""

import json
import shutil
import signal
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import das as api
from compressor.compression import compress
from compressor.costs.macs import count_macs
from compressor.costs.model_costs import share_macs
from compressor.errors import CheckFailed, Interrupted, UsageError
from compressor.evaluation.evaluate import evaluate
from compressor.jobs.prepare_job import prepare_job
from compressor.saved_run.run_folder import open_run
from compressor.search.budgets import (
    KINDS,
    Amount,
    Budget,
    BudgetResult,
    Prices,
    best_within,
    describe_drop,
    pareto_front,
    parse_budget,
    predict_start,
    smallest_that_holds,
)
from compressor.search.result import Point, SearchResult
from compressor.settings import Settings
from compressor.tasks import TASKS
from profiles.gates.budget_check import budget_sentence, check_budget
from profiles.reports.save import save_report
from profiles.timing import paired
from profiles.timing.layers_isolated import layer_prices
from profiles.timing.sample_batches import make_inputs
from tests.support.command_line import das, stopped
from tests.support.marks import slow_but
from tests.support.progress import StepProgress
from tests.support.workers import in_threads

LAYERS = tuple(f"En{i}" for i in range(5))
SCOPE = "FL3-5,FV3-5"
COMMAND = ("compress", "meter.ckpt", "--task", "vqa", "--recover", "closed-form", "--scope", SCOPE)


def settings(**changes):
    asked = {"checkpoint": "meter.ckpt", "task": "vqa", "recover": "closed-form", "scope": SCOPE}
    return Settings(**(asked | changes))


def record(values):
    """A search of five layers of unlike size; ``values`` are its scores by subset."""
    points = [Point(layers=layers, value=v, loss=1 - v, divergence=1 - v) for layers, v in values.items()]
    return SearchResult(
        strategy="auto",
        sizes=(1, 2),
        metric="accuracy",
        samples=100,
        full=Point(layers=(), value=0.9, loss=0.1, divergence=0),
        points=tuple(points),
        chosen={},
        forwards={},
        macs=1000,
        macs_saved={name: 100 + 10 * i for i, name in enumerate(LAYERS)},
        parameters=500,
        parameters_saved=dict.fromkeys(LAYERS, 50),
    )


subsets = st.sets(st.sampled_from(LAYERS), min_size=1).map(lambda found: tuple(sorted(found)))
records = st.dictionaries(subsets, st.integers(0, 90).map(lambda n: n / 100), min_size=1, max_size=12).map(record)


@pytest.mark.parametrize(
    ("kind", "typed", "limit", "relative"),
    [
        ("macs", "0.8x", 0.8, True),
        ("macs", "40G", 40e9, False),
        ("macs", 1.5e6, 1.5e6, False),
        ("params", " 200 M ", 200e6, False),
        ("latency", "40ms", 40, False),
        ("latency", ".5s", 500, False),
        ("drop", 0.5, 0.5, False),
        ("drop", "0", 0, False),
    ],
)
def test_limits_as_users_type_them(kind, typed, limit, relative):
    budget = parse_budget(kind, typed)
    assert (budget.limit, budget.relative) == (limit, relative)
    assert parse_budget(kind, budget.text(budget.limit)) == budget


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        *(("macs", typed) for typed in ("1x", "0x", "0", "-3G", "40ms", "many")),
        *(("latency", typed) for typed in ("40", "0ms")),
        *(("drop", typed) for typed in ("0.5x", "-1", "")),
    ],
)
def test_limits_that_cannot_be(kind, typed):
    with pytest.raises(UsageError) as error:
        parse_budget(kind, typed)
    assert error.value.codes == ("wrong-limit",)
    (problem,) = error.value.problems
    assert parse_budget(kind, problem.fix.removeprefix(f"--max-{kind} "))


def test_a_drop_is_what_the_slim_model_loses():
    budget = parse_budget("drop", "0.5")
    assert budget.used(Amount(full=80, slim=79)) == 1
    assert not budget.holds(Amount(full=80, slim=79))
    assert budget.holds(Amount(full=80, slim=81))


def test_a_latency_has_a_quantile_and_a_runtime():
    assert str(parse_budget("latency", "0.7x")) == "--max-latency 0.7x --at p50"
    assert str(parse_budget("latency", "0.7x", "p99", "torch")) == "--max-latency 0.7x --at p99 --runtime torch"
    assert str(parse_budget("macs", "0.7x")) == "--max-macs 0.7x"


@given(st.sampled_from(sorted(KINDS)), st.booleans(), st.floats(0.001, 0.999))
def test_the_nearest_budget_can_be_typed_and_is_kept_to(kind, relative, value):
    relative = relative and KINDS[kind].relative
    value = value if relative else value * 1e4
    budget = Budget(kind=kind, limit=1e-6, relative=relative).reaching(value)
    again = parse_budget(kind, budget.text(budget.limit)) if budget.limit < 1 or not relative else budget
    full = Amount(full=1.0, slim=value) if kind != "drop" else Amount(full=value, slim=0)
    assert again.holds(full)
    assert again.limit == pytest.approx(value, rel=0.01, abs=0.001)


@given(records, st.floats(0.3, 0.99))
def test_the_choice_keeps_to_the_budget_and_nothing_better_does(found, limit):
    budget, prices = Budget(kind="macs", limit=limit, relative=True), KINDS["macs"].prices(found)
    share = {point.layers: prices.without(point.layers) / 1000 for point in found.points}
    within = [point for point in found.points if share[point.layers] <= limit]
    try:
        layers = best_within(budget, found, prices, "das compress")
    except CheckFailed as error:
        assert error.codes == ("budget-out-of-reach",)
        nearest = error.problems[0].fix.split()[-1].rstrip("x")
        assert not within
        assert min(share.values()) <= float(nearest) <= min(share.values()) + 0.001
        assert prices.without(LAYERS) > 1000 * limit
    else:
        assert prices.without(layers) <= 1000 * limit * (1 + 1e-8)
        assert not within or found.point(layers).value == max(point.value for point in within)


def test_all_candidates_go_where_nothing_that_was_scored_is_cheap_enough():
    found = record({("En0",): 0.9})
    assert best_within(parse_budget("params", "0.5x"), found, KINDS["params"].prices(found), "") == LAYERS


@given(records)
def test_a_front_goes_from_large_and_good_to_small_and_bad(found):
    prices = KINDS["macs"].prices(found)
    front = pareto_front(found, prices)
    costs, ranks = [prices.without(point.layers) for point in front], [point.rank_key for point in front]
    assert costs == sorted(costs, reverse=True)
    assert ranks == sorted(ranks)
    for point in found.points:
        assert any(
            prices.without(better.layers) <= prices.without(point.layers) and better.rank_key <= point.rank_key
            for better in front
        )
    start = predict_start(front, 0.5)
    assert start == 0 or front[start].value >= 0.5
    assert all(point.value < 0.5 for point in front[start + 1 :])


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.integers(-1, n - 1))))
def test_the_smallest_model_that_holds_is_found_with_few_tries(case):
    models, start, last = case
    front = [Point(layers=(str(index),), value=0.5, loss=0, divergence=0) for index in range(models)]
    tried = []

    def holds(point):
        tried.append(front.index(point))
        return tried[-1] <= last

    assert smallest_that_holds(front, start, holds) == (front[last] if last >= 0 else None)
    assert len(tried) == len(set(tried)) <= abs(last - start) + 2


def test_everything_wrong_with_a_budget_is_said_at_once(workshop):
    result = das(*COMMAND, "--skip", 3, "--max-macs", "2x", "--max-drop", "much", "--at", "p42", "--strategy", "das")
    codes = ("goals-together", "wrong-limit", "wrong-limit", "budget-without-sizes", "latency-budget-missing")
    stopped(result, 2, codes, "--skip and --max-macs and --max-drop", "2x", "much", "--at", "--strategy das")
    stopped(das(*COMMAND), 2, "goal-missing", "--skip")
    result = das(*COMMAND, "--max-latency", "0.7x", "--at", "p42", "--runtime", "java")
    stopped(result, 2, ("unknown-runtime", "unknown-quantile"), "p42", "java")
    stopped(das(*COMMAND, "--max-latency", "0.7x", "--runtime", "trt"), 5, "layers-not-timed", "trt")
    codes = ("budget-without-sizes", "adapt-without-training")
    stopped(das(*COMMAND, "--max-macs", "0.7x", "--adapt"), 2, codes, "--adapt with --max-macs")
    assert das("compress").exit_code == 2
    assert not (workshop / "runs").exists()


def test_a_dry_run_names_the_budget(workshop):
    result = das(*COMMAND, "--max-macs", "0.8x", "--dry-run", "--json")
    assert json.loads(result.stdout)["budget"] == "--max-macs 0.8x"
    assert "meter-vqa-macs0.8x" in result.stdout


def test_macs_and_parameters_are_kept_to(workshop):
    result = das(*COMMAND, "--max-macs", "0.8x", "--json")
    assert result.exit_code == 0, result.stderr
    report, run = json.loads(result.stdout), open_run()
    assert run.path.name == "meter-vqa-macs0.8x"
    full, slim = (count_macs(model, make_inputs(run, 1)).total for model in (run.load_full(), run.load_slim()))
    assert report["budget"]["measured"] == report["budget"]["predicted"] == {"full": full, "slim": slim}
    assert slim <= 0.8 * full
    found = run.search_result()
    assert found.sizes == tuple(range(1, 7))
    assert found.point(run.manifest.plan.layers).value == max(
        point.value
        for point in found.points
        if found.macs - sum(map(found.macs_saved.get, point.layers)) <= 0.8 * found.macs
    )
    assert "Budget --max-macs 0.8x: MACs predicted" in (run.path / "report.md").read_text()

    limit = 0.75 * found.parameters
    absolute = das("compress", "--from", run.path, "--max-params", f"{limit / 1e3:.3f}k", "--json")
    assert absolute.exit_code == 0, absolute.stderr
    smaller = open_run()
    assert sum(p.numel() for p in smaller.load_slim().parameters()) <= limit
    assert smaller.manifest.budget.predicted.slim == sum(p.numel() for p in smaller.load_saved().parameters())


def test_a_budget_that_cannot_be_reached_names_the_nearest_and_leaves_nothing(workshop):
    result = das(*COMMAND, "--max-params", "0.1x")
    stopped(result, 4, "budget-out-of-reach", "--max-params 0.1x", "FL3-5, FV3-5")
    assert not list((workshop / "runs").iterdir())
    nearest = result.stderr.split()[-2:]
    assert nearest[0] == "--max-params"
    assert das(*COMMAND, *nearest).exit_code == 0


def held_out_drop(run):
    """Points lost on the held-out samples, scored anew."""
    job = prepare_job(Settings(**run.manifest.settings.model_dump(include=set(Settings.model_fields))))
    scores = [
        evaluate(model, job.data.held_out, TASKS["vqa"]).score.value for model in (run.load_full(), run.load_slim())
    ]
    return 100 * (scores[0] - scores[1])


def test_a_budget_that_the_full_model_keeps_to_is_no_budget(workshop):
    result = das(*COMMAND, "--max-params", "1000000M")
    stopped(result, 2, "budget-already-kept", "--max-params 1T", "parameters")
    assert not list((workshop / "runs").iterdir())


def test_the_smallest_model_within_a_drop(workshop):
    result = das(*COMMAND, "--max-drop", "2")
    assert result.exit_code == 0, result.stderr
    run = open_run()
    budget = run.manifest.budget
    held = [entry for entry in budget.tries if entry.holds]
    kept = min(held, key=lambda entry: entry.macs)
    assert kept.layers == run.manifest.plan.layers
    assert kept.measured <= 2
    assert kept.share == share_macs(run.manifest.costs.macs, run.manifest.costs.trims)
    assert f"MACs {kept.share}" in " ".join(result.stderr.split())
    assert held_out_drop(run) == pytest.approx(kept.measured, abs=1e-4)
    assert all(entry.measured > 2 for entry in budget.tries if not entry.holds)
    text = (run.path / "report.md").read_text()
    assert f"Budget --max-drop 2: {describe_drop(kept.measured)} on the held-out samples" in text
    drop = 100 * (run.manifest.results.full.value - run.manifest.results.slim.value)
    assert f"{describe_drop(drop)} on the evaluation split" in text
    assert "Tried on the held-out samples" in text


def test_a_drop_that_cannot_be_reached(workshop):
    result = das("compress", "meter.ckpt", "--task", "vqa", "--recover", "none", "--scope", "FV5", "--max-drop", "0")
    stopped(result, 4, "budget-out-of-reach", "--max-drop 0")
    assert not list((workshop / "runs").iterdir())


@pytest.fixture
def ctrl_c_arrives():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class InterruptAt(StepProgress):
    """Presses Ctrl-C in the middle of the n-th stage of a name."""

    def __init__(self, label, number):
        self.label, self.number = label, number

    def begin(self, label):
        self.number -= label.startswith(self.label)

    def step(self, label, number):
        if label.startswith(self.label) and self.number == 0 and number == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_resumed_drop_ends_where_an_uninterrupted_one_does(workshop, ctrl_c_arrives):
    asked = {"max_drop": 3, "recover": "train", "recover_epochs": 0.25, "batch_size": 32}
    whole = compress(settings(**asked, out="runs/whole"))
    assert len(whole.manifest.budget.tries) >= 2
    for stage in ("Recovering", "Scoring what was tried"):  # in the second model that is tried
        again = settings(**asked, out=f"runs/{stage.split()[0]}")
        with pytest.raises(Interrupted, match="--resume"):
            compress(again, progress=InterruptAt(stage, 2))
        resumed = compress(again, resume=True)
        assert resumed.manifest.plan == whole.manifest.plan
        assert resumed.manifest.budget == whole.manifest.budget
        assert resumed.manifest.results.slim == whole.manifest.results.slim
        weights = whole.load_slim().state_dict()
        assert all((value == weights[name]).all() for name, value in resumed.load_slim().state_dict().items())


@pytest.mark.parametrize(
    ("runtime", "scope"), slow_but([("torch", "all")], [("torch", "all"), ("onnx", "FL0,FL5,FV0")])
)
def test_prices_of_layers_are_measured(workshop, runtime, scope):
    job = prepare_job(settings(max_latency="0.9x", runtime=runtime, scope=scope))
    prices = layer_prices(job, seconds=0.1)
    assert prices.saved.keys() == set(job.candidates)
    assert prices.full > 0
    assert prices.saved["FL0"] == prices.saved["FL5"]  # one form: the same graph with other weights
    assert 0 < prices.saved["FV0"] < prices.full


def test_prices_of_parts_of_layers_are_measured(workshop):
    job = prepare_job(settings(max_latency="0.9x", runtime="torch", granularity="half", scope="FL0,FL5"))
    prices = layer_prices(job, seconds=0.1)
    assert prices.saved.keys() == set(job.candidates)
    assert prices.saved["FL0-attention"] == prices.saved["FL5-attention"] != prices.saved["FL0-feed-forward"]
    assert prices.beside == 0


def test_a_latency_budget_from_measured_layers_to_a_measured_model(workshop, monkeypatch, reads):
    monkeypatch.setattr("profiles.gates.budget_check.SECONDS", 0.2)
    in_threads(monkeypatch)
    asked = {"max_latency": "0.99x", "runtime": "torch", "at": "p90"}
    with suppress(CheckFailed):  # a busy machine may miss it; the run is kept
        api.compress("meter.ckpt", task="vqa", **asked, recover="none", scope="FL5,FV5")
    loaded_by_workers = paired.LEAST_GROUPS  # the full model in PyTorch, whose processes are threads here
    assert (reads["hash"], reads["load"]) == (1, 1 + loaded_by_workers)
    run = open_run()
    report = json.loads((run.path / "report.json").read_text())
    times = report["profile"]["runtimes"][0]
    assert report["budget"]["measured"] == {which: times[which]["p90_ms"] for which in ("full", "slim")}
    assert report["budget"]["predicted"]["slim"] < report["budget"]["predicted"]["full"]
    said = "Budget --max-latency 0.99x --at p90 --runtime torch: latency predicted"
    assert said in (run.path / "report.md").read_text()


def test_a_measured_miss_fails_and_names_the_run(shared_run):
    budget, prices = parse_budget("latency", "0.7x", runtime="onnxruntime"), Prices(full=10, saved={})
    result = BudgetResult(
        budget=budget, prices=prices, predicted=Amount(full=10, slim=6.9), measured=Amount(full=10, slim=8)
    )
    with pytest.raises(CheckFailed) as error:
        check_budget(result, shared_run)
    assert error.value.codes == ("budget-broken",)
    (problem,) = error.value.problems
    assert "0.69x" in problem.found and "0.8x" in problem.found
    assert str(shared_run.path) in problem.found
    assert "--max-latency 0.612x --at p50 --runtime onnxruntime" in problem.fix
    check_budget(result.model_copy(update={"measured": Amount(full=10, slim=7)}), shared_run)
    results = shared_run.manifest.results
    unmeasured = result.model_copy(update={"measured": None})
    assert "not measured yet" in budget_sentence(unmeasured, results.full, results.slim)


def move_source(folder, path):
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["source"]["path"] = str(path)
    manifest.write_text(json.dumps(content))


def test_a_run_is_compressed_again_from_its_search(run_here, workshop, monkeypatch, tmp_path):
    move_source(run_here, workshop / "meter.ckpt")
    before = open_run(run_here)
    monkeypatch.chdir(tmp_path)  # nothing depends on where the first one was made
    result = das("compress", "--from", run_here, "--skip", 4, "--recover-epochs", 0.5, "--seed", 3)
    assert result.exit_code == 0, result.stderr
    run, found = open_run(), before.search_result()
    assert run.search_result() == found
    assert run.search_log() == before.search_log()
    assert set(run.manifest.plan.layers) == set(found.chosen[4])
    assert run.manifest.strategy == before.manifest.strategy
    assert (run.manifest.settings.seed, run.manifest.settings.recover_epochs) == (3, 0.5)
    assert run.manifest.settings.batch_size == before.manifest.settings.batch_size == 32
    assert run.manifest.data == before.manifest.data
    assert "search" not in run.manifest.results.seconds

    again = api.compress(from_run=run.path, max_macs="0.9x", recover="closed-form")
    save_report(again)
    assert again.search_result() == found
    assert again.manifest.budget.budget == parse_budget("macs", "0.9x")
    assert again.manifest.settings.seed == 3


def test_what_cannot_be_compressed_again(run_here, workshop):
    move_source(run_here, workshop / "meter.ckpt")
    again = ("compress", "--from", run_here)
    assert das(*again, "--skip", 4, "--dry-run").exit_code == 0
    assert das(*again).exit_code == 2
    beside = das(*again, "--layers", "FL1", "--scope", "all", "--strategy", "greedy", "--holdout", "val")
    stopped(beside, 2, ("option-decided-by-search",) * 4, "--layers", "--scope", "--strategy", "--holdout")
    assert das(*again, "--max-drop", 1, "--holdout", "val", "--dry-run").exit_code == 0  # it is decided on these
    too_many = das(*again, "--skip", 13)
    stopped(too_many, 2, "number-not-searched", "--skip 13", "one of 1, 2")
    stopped(das("compress", "--from", workshop / "data", "--skip", 4), 3, "run-missing")

    moved = workshop / "elsewhere.ckpt"
    shutil.move(workshop / "meter.ckpt", moved)
    gone = das(*again, "--skip", 4)
    stopped(gone, 3, "checkpoint-gone", "meter.ckpt")
    assert das("compress", moved, "--from", run_here, "--skip", 4, "--dry-run").exit_code == 0
    moved.write_bytes(moved.read_bytes() + b"x")
    changed = das("compress", moved, "--from", run_here, "--skip", 4)
    stopped(changed, 3, "checkpoint-changed", moved)

    (run_here / "search.json").unlink()
    by_hand = das(*again, "--skip", 4)
    stopped(by_hand, 3, "run-without-search", "search.json")


@pytest.mark.parametrize(
    ("points", "text"),
    [(0.25, "0.25 points lost"), (-0.25, "0.25 points gained"), (0.004, "no points lost"), (-0.0, "no points lost")],
)
def test_points_are_lost_or_gained(points, text):
    assert describe_drop(points) == text

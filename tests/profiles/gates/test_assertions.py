"""Claims about times and scores; those about costs are in test_profile."""

import pytest

from compressor.errors import UsageError
from compressor.evaluation.score import IndexRecall, Score
from compressor.models.plan import Plan, Skip
from compressor.saved_run.manifest import Manifest, Results, RunSettings, Source
from profiles.gates import assertions
from profiles.timing.speedups import estimate_speedup
from tests.support.command_line import refused
from tests.support.reports import costs_of, profile_of


def manifest(full=0.8, slim=0.78, agreement=0.9, index=None, **settings):
    """A run's record with these scores."""
    score = Score(metric="accuracy", value=slim, margin=0.01, samples=100, loss=1.0)
    return Manifest(
        family="meter",
        task="vqa",
        dims={},
        plan=Plan(skip=(Skip(layer="FL1", adapter_width=8),)),
        strategy="auto",
        candidates=("FL1",),
        source=Source(path="", sha256=""),
        data=(),
        data_root="",
        settings=RunSettings(checkpoint="meter.ckpt", **settings),
        updated_parameters={},
        device="cpu",
        versions={},
        command="",
        results=Results(
            full=None if full is None else score.model_copy(update={"value": full}),
            slim=score,
            floor=0.1,
            answer_agreement=agreement,
            index=index,
            seconds={},
        ),
        costs=costs_of(100, 80),
    )


def failures(claims, report=None, run=None):
    """What is said of the claims that do not hold."""
    found = [
        *assertions.collect_measurements(report or profile_of(), {}),
        *assertions.collect_scores(run or manifest()),
    ]
    return [
        problem.found
        for problem in assertions.find_failures(assertions.parse_claims(claims, ["torch", "onnxruntime"]), found)
    ]


def test_times_are_those_of_slim_in_every_runtime():
    report = profile_of(torch=(range(1, 102), range(1, 102)), onnxruntime=([50.0] * 9, [10.0] * 9))  # p50 51, p99 100
    assert failures("p50_ms<=51,p90_ms<=91,p99_ms<=100,throughput>=19.6", report) == []
    assert failures("p99_ms:onnxruntime<=10,throughput:onnxruntime>=100", report) == []
    (said,) = failures("p99_ms<=99.9", report)
    assert said.startswith("p99_ms:torch: p50 51.00, p90 91.00, p99 100.00 ms of slim in 101 calls")
    assert len(failures("p50_ms<=9", report)) == 2
    (said,) = failures("throughput>50", report)
    assert said.startswith("throughput:torch: ") and said.endswith("19.61 samples/s")


def test_a_speed_up_that_does_not_hold_is_told_with_its_interval():
    (said,) = failures("speedup>=1.3", profile_of(torch=([11.0] * 20, [10.0] * 20)))
    assert said == "speedup:torch: 1.10x faster (95 % interval 1.10 to 1.10 within one measurement)"


@pytest.mark.parametrize(
    ("claim", "holds"),
    [("speedup>=1.3", True), ("speedup>=1.45", False), ("speedup<=1.55", False), ("speedup<=1.8", True)],
)
def test_a_claim_within_the_interval_of_a_speed_up_does_not_hold(claim, holds):
    report = profile_of(torch=([15.0, 15.0, 14.7, 14.7, 15.3, 15.3], [10.0] * 6))
    (runtime,) = report.runtimes
    processes = {"processes": (2, 2, 2)}
    times = [times.model_copy(update=processes) for times in (runtime.full, runtime.slim)]
    speedup = estimate_speedup(*times)
    assert 1.4 < speedup.low < 1.45 < 1.55 < speedup.high < 1.6
    found = report.model_copy(update={"runtimes": (runtime.model_copy(update={"speedup": speedup}),)})
    assert (failures(claim, found) == []) == holds


@pytest.mark.parametrize("claims", ["drop<=2.1", "drop>1.9", "agreement>=90", "drop<3,agreement>89.5"])
def test_scores_that_hold(claims):
    assert failures(claims) == []


def test_scores_that_do_not_hold():
    (said,) = failures("drop<=1.0")
    assert said == (
        "drop: accuracy 80.00 of full, 78.00 of slim, 2.00 points lost on 100 samples (margin of slim ± 1.00)"
    )
    (said,) = failures("agreement>=95")
    assert said == "agreement: 90.00% of the answers on the evaluation split are the same"


def test_what_slim_queries_keep_on_the_full_models_index():
    index = IndexRecall(
        sought="relevant documents", at=10, full_on_full=0.5, slim_on_full=0.45, slim_on_slim=0.4, margin=0.01,
        queries=9, documents=99,
    )  # fmt: skip
    run = manifest(agreement=None, index=index)
    assert failures("index>=0.9", run=run) == []
    (said,) = failures("index>=0.95", run=run)
    assert said.endswith("by slim queries on the full model's index, 45.00 of 50.00 %")
    assert failures("agreement>=0,index>=0", run=manifest(agreement=None)) == [
        "agreement: not measured: the models' outputs are no answers",
        "index: not measured: the task has no index",
    ]


def test_a_gain_is_a_drop_below_zero():
    gained = manifest(full=0.7, slim=0.75)
    assert failures("drop<=-4.9", run=gained) == []
    assert len(failures("drop<=-5.1", run=gained)) == 1


@pytest.mark.parametrize(
    ("run", "claims", "why"),
    [
        (manifest(full=None, agreement=None), "drop<=100,agreement>=0", "the full model had no trained head"),
        (manifest(calibration="data"), "drop<=100", "inputs without answers"),
    ],
)
def test_scores_that_were_not_measured_fulfil_no_claim(run, claims, why):
    said = failures(claims, run=run)
    assert len(said) == len(claims.split(","))
    assert all("not measured: " in sentence and why in sentence for sentence in said)


def test_calibration_knows_how_many_answers_are_the_same():
    assert failures("agreement>=90", run=manifest(calibration="data")) == []


@pytest.mark.parametrize("claim", ["p99<=40", "p99_ms<=40ms", "p75_ms<=1", "drop:torch<=1", "drop<=--1", "loss<1"])
def test_other_claims_are_refused_and_told_what_there_is(claim):
    with refused(UsageError, "wrong-claim", "throughput, file, memory, ", "p99_ms:torch"):
        assertions.parse_claims(claim, ["torch"])

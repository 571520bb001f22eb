"""The fastest way of all that a profile measured, and the sentence about it."""

import pytest

from exporters.checks.records import MetricChange
from exporters.folder import ExportsFolder
from profiles.comparison.full_vs_slim import Answers, AnswersPair, Fastest, Scores, Variant
from profiles.comparison.variants import Bench, Model
from profiles.deployment import find_fastest as finding
from profiles.deployment.fastest import costs_too_much, describe_fastest, tabulate_ways
from profiles.timing.latency import summarise_times
from profiles.timing.speedups import estimate_speedup
from tests.support.reports import profile_of


def times(ms):
    return summarise_times([ms] * 20)


def change(after, margin=0.0):
    return MetricChange(metric="accuracy", before=0.9, after=after, margin=margin)


def runtime(name, full, slim, int8=None, after=0.9, full_int8=None):
    """A runtime with these milliseconds in fp32, and in int8 of slim with a score of so much."""
    (profile,) = profile_of(**{name: ([full] * 20, [slim] * 20)}).runtimes
    kept = Answers(change=change(0.9), agreement=1.0)
    others = [
        Variant(
            which=which,
            precision="int8",
            latency=times(ms),
            file_bytes=1,
            speedup=estimate_speedup(times(full), times(ms)),
            score=change(after - 0.01),
            answers=Answers(change=change(after), agreement=0.985),
        )
        for which, ms in (("slim", int8), ("full", full_int8))
        if ms
    ]
    scores = Scores(full=change(0.9), slim=change(0.89))
    pair = AnswersPair(full=kept, slim=kept)
    return profile.model_copy(update={"scores": scores, "answers": pair, "others": tuple(others)})


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Find the fastest; a final takes as long as the profiles say."""
    timed = []

    def find(*profiles):
        known = {
            (profile.name, variant.precision): variant.latency
            for profile in profiles
            for variant in profile.variants
            if variant.which == "slim"
        }

        def time_models(requests, seconds, progress):
            timed.append([(request.which, request.runtime, request.precision) for request in requests.values()])
            times = {name: known[request.runtime, request.precision] for name, request in requests.items()}
            return type("Timed", (), {"times": times})

        monkeypatch.setattr(finding, "time_models", time_models)
        slim = ExportsFolder(tmp_path)
        run = type("Run", (), {"path": tmp_path})
        models = {"slim": Model(None, slim), "full": Model(None, slim.full())}
        return finding.find_fastest(profiles, Bench(run, models, 1, 1, 0.1, "cpu", None, None)), timed

    return find


def test_the_best_of_each_runtime_meet_in_one_comparison(found):
    fastest, timed = found(runtime("torch", 10, 8), runtime("onnxruntime", 9, 6, int8=2, full_int8=3))
    assert timed == [[("slim", "torch", "fp32"), ("slim", "onnxruntime", "int8")]]
    assert (fastest.runtime, fastest.precision, fastest.file) == ("onnxruntime", "int8", "model.int8.onnx")
    assert fastest.cut.ratio == pytest.approx(1.5)
    assert fastest.ways[1].slower.ratio == pytest.approx(4)
    assert tabulate_ways(fastest).rows == (
        ("onnxruntime, int8", "2.00", "", ""),
        ("torch, fp32", "8.00", "4.00x", "4.00-4.00"),
    )
    assert describe_fastest(fastest) == (
        "Fastest on this machine: slim in onnxruntime, int8 (model.int8.onnx), 2.00 ms; against the next, torch in "
        "fp32, 4.00x faster (95 % interval 4.00 to 4.00 within one measurement); it costs accuracy +0.00 ± 0.00 points "
        "and 98.5% the same answers against slim in PyTorch, fp32 (-1.00 against full); the cut there: 1.50x faster "
        "(95 % interval 1.50 to 1.50 within one measurement)."
    )
    assert Fastest.model_validate_json(fastest.model_dump_json()) == fastest


def test_a_way_that_costs_more_answers_than_chance_is_passed_over_and_named(found):
    fastest, timed = found(runtime("onnxruntime", 9, 6, int8=2, after=0.896))
    assert timed == []
    assert (fastest.precision, len(fastest.ways)) == ("fp32", 1)
    assert fastest.cut.ratio == pytest.approx(1.5)
    assert "passed over: onnxruntime in int8, faster, but accuracy -0.40 ± 0.00 points." in describe_fastest(fastest)


def test_a_runtime_whose_every_way_costs_too_much_is_in_no_final(found):
    costly = runtime("openvino", 9, 2)
    costly = costly.model_copy(
        update={"answers": AnswersPair(full=None, slim=Answers(change=change(0.89), agreement=0.9))}
    )
    fastest, timed = found(costly, runtime("onnxruntime", 9, 6))
    assert (timed, fastest.runtime, len(fastest.ways)) == ([], "onnxruntime", 1)
    assert "passed over: openvino in fp32, accuracy -1.00 ± 0.00 points." in describe_fastest(fastest)
    alone, _ = found(costly)
    assert (alone.runtime, alone.passed_over) == ("openvino", ())


def test_full_that_was_not_timed_in_it_is_no_gap_in_silence(found):
    fastest, _ = found(runtime("onnxruntime", 9, 6, int8=2))
    assert fastest.cut is None
    assert "the cut there: not measured, full does not pass in it" in describe_fastest(fastest)


@pytest.mark.parametrize(
    ("after", "margin", "found"),
    [(0.8971, 0, False), (0.8969, 0, True), (0.8801, 0.02, False), (0.8799, 0.02, True), (0.95, 0, False)],
)
def test_a_loss_may_be_three_tenths_of_a_point_or_chance(after, margin, found):
    assert costs_too_much(change(after, margin)) == found
    assert not costs_too_much(None)

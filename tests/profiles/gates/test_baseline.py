"""A profile against an earlier one: what counts as worse, and what is not comparable."""

import json

import numpy as np
import pytest

from compressor.errors import InputError
from compressor.evaluation.score import Score
from compressor.saved_run.manifest import RunSettings
from profiles.gates.baseline import (
    BaselineChanges,
    ComparedProfile,
    Profiled,
    compare_profiles,
    find_regressions,
    list_notes,
    read_baseline,
    tabulate_changes,
)
from tests.support.command_line import refused
from tests.support.reports import VERSIONS, place, profile_of


def noisy(median, seed, n=200, noise=0.03):
    return median * np.exp(np.random.default_rng(seed).normal(0, noise, n))


def changed(before, now):
    """The rows of a comparison by name."""
    found = compare_profiles(Profiled(profile=before), Profiled(profile=now))
    return {row.quantity: row for row in found.rows}


def verdicts(before, now):
    return {name: row.verdict for name, row in changed(before, now).items()}


def times(full, slim, seed=0, n=200):
    return {"torch": (noisy(full, seed, n), noisy(slim, seed + 1, n))}


def test_the_same_profile_is_the_same():
    before = profile_of(**times(20, 10))
    assert set(verdicts(before, before).values()) == {"same"}


def test_noise_is_no_regression():
    before = profile_of(**times(20, 10))
    for seed in range(2, 12, 2):
        assert verdicts(before, profile_of(**times(20, 10, seed)))["slim/full, torch"] == "same"


def test_a_slower_slim_model_is_one():
    found = changed(profile_of(**times(20, 10)), profile_of(**times(20, 11.5, 2)))["slim/full, torch"]
    assert found.verdict == "regression"
    low, high = found.interval
    assert 0.05 < low < 0.15 < high < 0.25
    assert found.change == pytest.approx(found.now / found.before - 1)
    assert found.before == pytest.approx(0.5, rel=0.02)


def test_a_little_slower_is_within_the_tolerance_however_sure():
    steady = {"torch": ([20.0] * 500, [10.4] * 500)}
    found = changed(profile_of(torch=([20.0] * 500, [10.0] * 500)), profile_of(**steady))["slim/full, torch"]
    assert (found.verdict, found.interval) == ("same", pytest.approx((0.04, 0.04)))


def test_an_interval_that_only_reaches_beyond_the_tolerance_is_no_regression():
    before, now = (profile_of(torch=(noisy(20, seed, 40, 0.2), noisy(10, seed + 1, 40, 0.2))) for seed in (0, 2))
    found = changed(before, now)["slim/full, torch"]
    low, high = found.interval
    assert low < 0.05 < high
    assert found.verdict == "same"


def test_a_slower_hour_of_the_machine_is_no_regression():
    """Both models take half as long again; slim against full is what it was."""
    assert verdicts(profile_of(**times(20, 10)), profile_of(**times(30, 15, 2)))["slim/full, torch"] == "same"


def test_a_faster_hour_hides_nothing():
    assert verdicts(profile_of(**times(20, 10)), profile_of(**times(10, 6, 2)))["slim/full, torch"] == "regression"


def test_against_another_full_model_slim_counts_by_itself():
    before, now = profile_of(**times(20, 10)), profile_of(full_macs=2000, **times(40, 15, 2))
    found = changed(before, now)
    assert "slim/full, torch" not in found
    row = found["p50 of slim, torch"]
    assert (row.verdict, row.unit) == ("regression", "ms")
    assert row.now == pytest.approx(15, rel=0.02)
    assert "slim's own" in list_notes(compare_profiles(Profiled(profile=before), Profiled(profile=now)))[0]


def test_turns_are_drawn_in_pairs():
    """A drift of both models within a profile widens no interval."""
    drift = np.linspace(1, 3, 200)
    before, now = (profile_of(torch=(20 * drift, slim * drift)) for slim in (10, 11))
    low, high = changed(before, now)["slim/full, torch"].interval
    assert (low, high) == (pytest.approx(0.1, abs=1e-5), pytest.approx(0.1, abs=1e-5))


def test_intervals_of_both_profiles_add_as_independent_errors_do():
    before, now = (profile_of(**times(20, 10, seed)).runtimes[0].speedup for seed in (0, 2))
    widths = [np.log(found.high / found.low) for found in (before, now)]
    low, high = changed(profile_of(**times(20, 10)), profile_of(**times(20, 10, 2)))["slim/full, torch"].interval
    assert np.log((1 + high) / (1 + low)) == pytest.approx(np.hypot(*widths), rel=0.1)


def test_chance_is_covered_as_often_as_an_interval_promises():
    """Of two profiles of the same, 0 lies in about 95 of 100 intervals."""
    profiles = [profile_of(**times(20, 10, seed, n=60)) for seed in range(0, 400, 2)]
    covered = []
    for before, now in zip(profiles[::2], profiles[1::2], strict=True):
        low, high = changed(before, now)["slim/full, torch"].interval
        covered.append(low <= 0 <= high)
    assert 0.88 <= np.mean(covered) <= 1


@pytest.mark.parametrize(
    ("worse", "name"),
    [
        ({"macs": 701}, "MACs"),
        ({"parameters": 81}, "parameters"),
        ({"file": 10**6 + 20_000}, "file, torch"),
        ({"peak": 106 * 10**6}, "memory, torch"),
    ],
)
def test_costs_that_grew(worse, name):
    found = verdicts(profile_of(), profile_of(**worse))
    assert {quantity for quantity, verdict in found.items() if verdict == "regression"} == {name}
    assert verdicts(profile_of(**worse), profile_of())[name] == "better"


@pytest.mark.parametrize("alike", [{"file": 10**6 + 16_000}, {"peak": 104 * 10**6}])
def test_costs_that_are_as_good_as_the_same(alike):
    assert set(verdicts(profile_of(), profile_of(**alike)).values()) == {"same"}


def scored(full, slim, margin=0.01, samples=100, **settings):
    score = Score(metric="accuracy", value=slim, margin=margin, samples=samples, loss=1.0)
    whole = None if full is None else score.model_copy(update={"value": full})
    return Profiled(
        profile=profile_of(), full=whole, slim=score, settings=RunSettings(checkpoint="meter.ckpt", **settings)
    )


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (scored(0.80, 0.78), "same"),
        (scored(0.80, 0.77), "same"),  # a point more, within hypot(1, 1)
        (scored(0.80, 0.76), "regression"),
        (scored(0.90, 0.88), "same"),  # full is better, and so is slim
        (scored(0.80, 0.80), "better"),
    ],
)
def test_a_score_that_lost_more(now, verdict):
    (row,) = (row for row in compare_profiles(scored(0.80, 0.78), now).rows if row.quantity == "score lost")
    assert row.verdict == verdict
    assert row.tolerance == pytest.approx(np.hypot(1, 1))
    assert (row.before, row.change) == (pytest.approx(2), pytest.approx(row.now - row.before))


@pytest.mark.parametrize(
    "now", [scored(None, 0.78), scored(0.8, 0.78, samples=50), scored(0.8, 0.78, calibration="data")]
)
def test_scores_that_do_not_compare_are_said_to(now):
    found = compare_profiles(scored(0.80, 0.78), now)
    assert "score lost" not in {row.quantity for row in found.rows}
    assert "score lost" in {entry.what for entry in found.not_compared}
    assert list_notes(found)[-1].startswith("Not compared, score lost: ")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"version": 1}, "schema version 1"),
        ({"batch": 8}, "batch 8"),
        ({"environment": place(processor="another")}, "processor another"),
        ({"environment": place(threads=2)}, "threads 2"),
        ({"environment": place(device="cuda (a GPU)")}, "device cuda (a GPU)"),
        ({"environment": place(versions={**VERSIONS, "torch": "2.10.0"})}, "torch 2.10.0"),
        ({"environment": place(versions={"torch": "2.9.0", "python": "3.12.1"})}, "onnxruntime not installed"),
        ({"onnxruntime": ([1.0] * 10, [1.0] * 10)}, "measured in onnxruntime"),
    ],
)
def test_what_is_not_comparable_is_refused(other, said):
    with refused(InputError, "baseline-not-comparable", said):
        compare_profiles(Profiled(profile=profile_of(**other)), Profiled(profile=profile_of()))


def test_another_model_or_task_is_refused():
    other = profile_of().model_copy(update={"family": "vilt", "task": "nlvr2"})
    with pytest.raises(InputError) as caught:
        compare_profiles(Profiled(profile=other), Profiled(profile=profile_of()))
    assert caught.value.codes == ("baseline-not-comparable",) * 2
    assert [problem.found for problem in caught.value.problems] == [
        "the baseline has family vilt",
        "the baseline has task nlvr2",
    ]


def test_load_and_the_version_of_das_may_differ():
    versions = {**VERSIONS, "das-toolkit": "9"}
    assert set(verdicts(profile_of(), profile_of(environment=place(load=3.0, versions=versions))).values()) == {"same"}


def test_another_tensorrt_matters_where_engines_are_compared():
    newer = place(versions={**VERSIONS, "tensorrt": "11.4"})
    assert set(verdicts(profile_of(environment=newer), profile_of()).values()) == {"same"}
    engines = {"tensorrt": ([20.0] * 20, [10.0] * 20)}
    with refused(InputError, "baseline-not-comparable", "tensorrt 11.4"):
        compare_profiles(
            Profiled(profile=profile_of(environment=newer, **engines)), Profiled(profile=profile_of(**engines))
        )


def test_what_one_of_them_did_not_measure_is_named():
    both = {"torch": ([20.0] * 10, [10.0] * 10), "onnxruntime": ([20.0] * 10, [10.0] * 10)}
    found = compare_profiles(Profiled(profile=profile_of(**both)), Profiled(profile=profile_of(peak=None)))
    assert {(entry.what, entry.why) for entry in found.not_compared} >= {
        ("onnxruntime", "measured in the baseline, not now"),
        ("memory, torch", "not measured in both"),
    }
    assert "memory, torch" not in {row.quantity for row in found.rows}


def test_every_regression_is_reported_with_what_was_measured():
    assert find_regressions(compare_profiles(Profiled(profile=profile_of()), Profiled(profile=profile_of()))) == ()
    worse = compare_profiles(
        Profiled(profile=profile_of()),
        Profiled(profile=profile_of(macs=70_007, parameters=81, torch=([20.0] * 20, [12.0] * 20))),
    )
    assert [(problem.found, problem.expected) for problem in find_regressions(worse)] == [
        ("MACs: 700, now 70,007: +9901.0%", "at most +0.0%"),
        ("parameters: 80, now 81: +1.2%", "at most +0.0%"),
        ("slim/full, torch: 0.500, now 0.600: +20.0% (+20.0 to +20.0)", "at most +5.0%"),
    ]


def test_the_table_has_a_row_for_each():
    rows = tabulate_changes(compare_profiles(scored(0.80, 0.78), scored(0.80, 0.70))).rows
    assert ("MACs", "700", "700", "+0.0%", "same") in rows
    assert ("file, torch", "1.00 MB", "1.00 MB", "+0.0%", "same") in rows
    assert ("score lost", "2.00", "10.00", "+8.00 points", "regression") in rows


def test_a_baseline_is_a_profile_or_a_report_with_one(tmp_path):
    path, found = tmp_path / "baseline.json", profile_of()
    path.write_text(found.model_dump_json())
    assert read_baseline(path) == Profiled(profile=found)
    both = scored(0.80, 0.78)
    path.write_text(json.dumps({"run": "tiny", "picture": [], **both.model_dump(mode="json")}))
    assert read_baseline(path) == both
    assert read_baseline(path).drop == pytest.approx(2)
    printed = ComparedProfile(**found.model_dump(), baseline=compare_profiles(both, both))
    path.write_text(printed.model_dump_json())
    assert read_baseline(path).profile == found


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "1", '{"profile": null}', '{"run": "x"}', b"\xff\xfe", None], ids=str
)
def test_a_file_that_holds_no_profile(tmp_path, content):
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(InputError, "profile-unreadable", path):
        read_baseline(path)


def test_a_profile_of_a_newer_das(tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text(profile_of().model_copy(update={"schema_version": 99}).model_dump_json())
    with refused(InputError, "schema-too-new", 99):
        read_baseline(path)


def test_changes_survive_json():
    found = compare_profiles(scored(0.80, 0.78), scored(0.80, 0.70))
    assert BaselineChanges.model_validate_json(found.model_dump_json()) == found

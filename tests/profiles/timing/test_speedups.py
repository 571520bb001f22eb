"""The interval of a speed-up, within a pair of processes and over several."""

import numpy as np
import pytest

from profiles.timing import speedups
from profiles.timing.latency import summarise_times
from profiles.timing.speedups import Estimate, divide, estimate_median, estimate_speedup


def times(median, noise, seed, n=200):
    return summarise_times(median * np.exp(np.random.default_rng(seed).normal(0, noise, n)))


def test_a_clear_speed_up_is_called_one():
    found = estimate_speedup(times(14.2, 0.05, 1), times(10.0, 0.05, 2))
    assert found.low < 1.42 < found.high
    assert found.low > 1.38
    interval = f"(95 % interval {found.low:.2f} to {found.high:.2f} within one measurement)"
    assert found.verdict == f"{found.ratio:.2f}x faster {interval}"


def test_noise_is_not_called_a_speed_up():
    found = estimate_speedup(times(10.0, 0.5, 1, n=20), times(9.9, 0.5, 2, n=20))
    assert found.low < 1 < found.high
    assert found.verdict.startswith("no significant speed-up")


def test_a_slow_down_is_called_slower():
    assert estimate_speedup(times(10.0, 0.01, 1), times(20.0, 0.01, 2)).verdict.startswith("slower: only 0.50x")


def test_the_interval_holds_95_percent_of_the_draws():
    full, slim = times(12.0, 0.5, 1), times(10.0, 0.5, 2)
    logs = np.log(full.medians_ms()) - np.log(slim.medians_ms())
    pairs, cut = (logs[::2] + logs[1::2]) / 2, len(logs) // 8
    drawn = np.sort(np.random.default_rng(9).choice(pairs, (4000, len(pairs))))
    found = estimate_speedup(full, slim)
    assert np.log(found.high / found.low) == pytest.approx(2 * 1.96 * drawn[:, cut:-cut].mean(1).std(), rel=0.08)


def test_the_interval_is_the_same_every_time():
    full, slim = times(12.0, 0.2, 1), times(10.0, 0.2, 2)
    assert estimate_speedup(full, slim) == estimate_speedup(full, slim)


def test_pairing_keeps_a_common_drift_out_of_the_interval():
    drift = np.linspace(1, 3, 100)
    found = estimate_speedup(summarise_times(1.1 * drift), summarise_times(drift))
    assert found.low == pytest.approx(1.1, abs=1e-3)
    assert found.high == pytest.approx(1.1, abs=1e-3)


def test_a_clear_difference_of_less_than_a_percent_is_called_none():
    found = estimate_speedup(times(10.05, 0.001, 1), times(10.0, 0.001, 2))
    assert found.low > 1
    assert not found.significant
    assert found.verdict.startswith("no significant speed-up: 1.0")


def test_turns_in_which_the_machine_was_busy_do_not_move_the_estimate():
    busy = np.ones(40)
    busy[::10] = 3
    found = estimate_speedup(summarise_times(1.2 * busy), summarise_times(np.ones(40)))
    assert found.ratio == pytest.approx(1.2)


def profiled(pairs, *, ratio=1.2, within=0.02, between=0.02, turns=8, seed=0):
    """Full and slim in so many pairs of processes, whose logarithms of the ratio spread by ``between``."""
    rng = np.random.default_rng(seed)
    of_pair = np.repeat(rng.normal(np.log(ratio), between, pairs), turns)
    logs = of_pair + rng.normal(0, within * np.sqrt(2 / turns) * turns / 2, pairs * turns)
    full, slim = np.exp(logs), np.ones_like(logs)
    return [summarise_times(10 * times, processes=[turns] * pairs) for times in (full, slim)]


def covered(pairs, estimates=400, **options):
    """The share of profiles whose interval holds the true ratio."""
    found = [estimate_speedup(*profiled(pairs, seed=seed, **options)) for seed in range(estimates)]
    return np.mean([one.low <= 1.2 <= one.high for one in found])


@pytest.fixture
def few_draws(monkeypatch):
    """Hundreds of bootstraps take their time."""
    monkeypatch.setattr(speedups, "BOOTSTRAP_DRAWS", 200)


LEAST, MOST = 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400), 0.95 + 3 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize("pairs", [3, 6])
def test_the_interval_of_several_pairs_holds_the_ratio_in_95_of_100_profiles(few_draws, pairs):
    assert LEAST < covered(pairs, within=0.003, between=0.02) < MOST


def test_the_interval_of_one_pair_does_not_cover_another_profile(few_draws):
    assert covered(1, turns=48, within=0.001, between=0.02) < 0.5


def test_without_a_difference_between_processes_the_interval_is_not_narrower(few_draws):
    assert covered(6, within=0.02, between=0.0) > LEAST


def test_the_interval_over_pairs_is_students():
    found = estimate_speedup(*profiled(4, within=0.0, between=0.05))
    logs = np.log(estimate_speedup_of_each(profiled(4, within=0.0, between=0.05)))
    margin = 3.182 * logs.std(ddof=1) / 2
    assert np.log([found.low, found.ratio, found.high]) == pytest.approx(
        [logs.mean() - margin, logs.mean(), logs.mean() + margin], abs=1e-5
    )
    assert found.pairs == 4
    assert (found.within, found.between) == pytest.approx((0, logs.std(ddof=1)), abs=3e-5)
    assert "over 4 process pairs" in found.verdict


def estimate_speedup_of_each(both):
    """The ratio of each pair of processes."""
    full, slim = (np.array(times.samples_ms).reshape(4, -1) for times in both)
    return (full / slim)[:, 0]


def test_the_median_of_a_model_spreads_as_its_processes_do():
    several = summarise_times([10.0] * 4 + [11.0] * 4 + [12.0] * 4, processes=[4, 4, 4])
    found = estimate_median(several)
    logs = np.log([10, 11, 12])
    margin = 4.303 * logs.std(ddof=1) / np.sqrt(3)
    assert np.log([found.low, found.high]) == pytest.approx([logs.mean() - margin, logs.mean() + margin])
    assert found.value == pytest.approx(np.exp(logs.mean()))


def test_the_interval_of_a_ratio_of_two_estimates():
    found = divide(Estimate(2.0, 1.9, 2.1), Estimate(1.0, 0.9, 1.1))
    assert found.value == pytest.approx(2)
    assert found.low == pytest.approx(2 * np.exp(-np.hypot(np.log(2 / 1.9), np.log(1.1))))
    assert found.high == pytest.approx(2 * np.exp(np.hypot(np.log(2.1 / 2), np.log(1 / 0.9))))

"""The fastest way of all that a profile measured: the best of each runtime once more, against those of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from profiles.comparison.full_vs_slim import Fastest, NotMeasured, RuntimeProfile, Variant, Way
from profiles.comparison.variants import Bench, request_of
from profiles.deployment.fastest import costs_too_much, describe_change
from profiles.timing.latency import Latency
from profiles.timing.paired import time_models
from profiles.timing.speedups import Speedup, estimate_speedup
from profiles.timing.worker import FULL, SLIM


def find_fastest(profiles: Sequence[RuntimeProfile], bench: Bench) -> Fastest:
    """Name the fastest way to run slim here, of those that keep its answers; where none does, of all.

    Within a runtime its precisions have been timed in turns. The best of each is timed against those of the other
    runtimes, all in turns again, so that the verdict is from one comparison, and so many models are never in memory
    at once.

    Args:
        profiles: of every runtime that was measured, one at least.
        bench: that they were measured on.
    """
    best_of_each = {profile.name: _best(profile) for profile in profiles}
    best = {name: variant for name, variant in best_of_each.items() if not _costly(variant)} or best_of_each
    times = _time_finalists(best, bench)
    order = sorted(times, key=lambda name: times[name].p50_ms)
    first, chosen = order[0], best[order[0]]
    profile = next(profile for profile in profiles if profile.name == first)
    file = bench.models[SLIM].file(find_runtime(first), PRECISIONS[chosen.precision])
    return Fastest(
        runtime=first,
        precision=chosen.precision,
        file=file.name if file else "",
        p50_ms=times[first].p50_ms,
        ways=tuple(
            Way(
                runtime=name,
                precision=best[name].precision,
                latency=times[name],
                slower=None if name == first else estimate_speedup(times[name], times[first]),
            )
            for name in order
        ),
        cut=_cut(profile, chosen.precision),
        score=chosen.score,
        answers=chosen.answers,
        passed_over=tuple(entry for profile in profiles for entry in _passed_over(profile, best.get(profile.name))),
    )


def _slim(profile: RuntimeProfile) -> list[Variant]:
    """Return slim in every precision of a runtime, the fastest first."""
    found = [variant for variant in profile.variants if variant.which == SLIM]
    return sorted(found, key=lambda variant: -(variant.speedup.ratio if variant.speedup else 1.0))


def _costly(variant: Variant) -> bool:
    return bool(variant.answers and costs_too_much(variant.answers.change))


def _best(profile: RuntimeProfile) -> Variant:
    """Return the fastest that keeps its answers; where none does, the one that loses fewest points of the score."""
    kept = [variant for variant in _slim(profile) if not _costly(variant)]

    def lost(variant: Variant) -> float:
        return variant.answers.change.change if variant.answers and variant.answers.change else 0.0

    return kept[0] if kept else max(_slim(profile), key=lost)


def _passed_over(profile: RuntimeProfile, best: Variant | None) -> Iterator[NotMeasured]:
    """Yield the ways of a runtime that are faster than its best, all where none is good enough, and what they cost."""
    faster = "faster, but " if best else ""
    for variant in _slim(profile):
        if best and variant.precision == best.precision:
            return
        if variant.answers and variant.answers.change:
            what = f"{profile.name} in {variant.precision}"
            yield NotMeasured(what=what, why=f"{faster}{describe_change(variant.answers.change)}")


def _cut(profile: RuntimeProfile, precision: str) -> Speedup | None:
    """Return slim over full in a precision of a runtime; None where full was not timed in it."""
    both = {variant.which: variant.latency for variant in profile.variants if variant.precision == precision}
    return estimate_speedup(both[FULL], both[SLIM]) if FULL in both else None


def _time_finalists(best: dict[str, Variant], bench: Bench) -> dict[str, Latency]:
    """Time the best of each runtime in turns; a single one has been timed."""
    if len(best) == 1:
        return {name: variant.latency for name, variant in best.items()}
    requests = {
        name: request_of(SLIM, find_runtime(name), PRECISIONS[variant.precision], bench)
        for name, variant in best.items()
    }
    return dict(time_models(requests, bench.seconds, bench.progress).times)

"""Why each layer was kept or cut, and how good the choice is among all others of its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressor.errors import input_error, usage_error
from compressor.models.plan import summarise
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import SEARCH_LOG, Run
from compressor.search.result import LogEntry, SearchResult
from compressor.search.reuse import search_of, settings_of
from compressor.values import Value
from profiles.analysis.effects import (
    Contrast,
    Interactions,
    compare_with_choice,
    contrast_layer,
    fit_interactions,
    group_comparable,
)

SCHEMA_VERSION = 1


class Moment(Value):
    """Scores of subsets of the pick's size once they were scored on so many held-out samples.

    While adapters train there is a moment for each update.
    """

    samples: int
    subsets: int
    value: Contrast


class LayerExplanation(Value):
    """The search's results for one candidate.

    Attributes:
        name: of the layer.
        skipped: whether the run skips it.
        macs_saved, parameters_saved: by skipping it, its adapter counted in.
        macs_share, parameters_share: the same as shares of the full model's.
        times: scored subsets that skip it; one that was scored on more and more samples counts each time.
        value, loss, divergence: of comparable subsets that skip it and that keep it (:func:`contrast_layer`); None
            where there are none to compare.
        explained: share of what it adds to its stream that its adapter in closed form explains; None if never fitted.
        history: its scores as the search went on, at the pick's size.
        gates: its gate after each update; empty without gates.
        why: why it was kept or cut, in a sentence.
    """

    name: str
    skipped: bool
    macs_saved: int
    macs_share: float
    parameters_saved: int
    parameters_share: float
    times: int
    value: Contrast | None
    loss: Contrast | None
    divergence: Contrast | None
    explained: float | None
    history: tuple[Moment, ...]
    gates: tuple[float, ...]
    why: str


class Standing(Value):
    """The pick's rank and regret among subsets of its size that were scored on the same samples.

    Attributes:
        samples: held-out samples.
        scored: subsets of the size that were scored on them, the pick among them.
        subsets: of that size that there are.
        rank: of the pick by what is readable where that was probed, else by score; equals by divergence; 1 is the best.
        rank_by_divergence: of the pick by divergence alone.
        regret: the score of the best-ranked less the pick's.
        regret_in_divergence: the pick's divergence less the smallest.
        best: layers of the best-ranked.
    """

    samples: int
    scored: int
    subsets: int
    rank: int
    rank_by_divergence: int
    regret: float
    regret_in_divergence: float
    best: tuple[str, ...]


class Enumeration(Value):
    """All subsets of the pick's size, scored on all held-out samples with adapters fitted in closed form.

    ``forwards`` is what that took, in forward passes of the full model on one sample.
    """

    standing: Standing
    forwards: float


class Explanation(Value):
    """The reasons for a search's choice.

    Attributes:
        run: name of its folder.
        metric: of the values, which are means over held-out samples, with the search's adapters, before any recovery.
        samples: the most that subsets were scored on.
        scored: entries of the log.
        pick: the layers that the run skips.
        layers: every candidate.
        interactions: which layers are worse, or less bad, together.
        standings: of the pick, from few samples to many.
        enumeration: where it was asked for.
    """

    schema_version: int = SCHEMA_VERSION
    run: str
    strategy: str
    metric: str
    samples: int
    scored: int
    pick: tuple[str, ...]
    layers: tuple[LayerExplanation, ...]
    interactions: Interactions
    standings: tuple[Standing, ...]
    enumeration: Enumeration | None = None

    def of(self, layer: str) -> Explanation:
        """Return the explanation of one layer and its pairs alone.

        Raises:
            UsageError: it was not a candidate.
        """
        layers = tuple(entry for entry in self.layers if entry.name == layer)
        if not layers:
            known = [entry.name for entry in self.layers]
            raise usage_error(
                "unknown-layer",
                f"--layer {layer}: not among the candidates",
                f"one of {summarise(known)}",
                f"--layer {known[0]}",
            )
        pairs = tuple(pair for pair in self.interactions.pairs if layer in pair.layers)
        return self.model_copy(
            update={"layers": layers, "interactions": self.interactions.model_copy(update={"pairs": pairs})}
        )


def explain_layers(run: Run) -> Explanation:
    """Explain a run from what its search left; nothing is scored again.

    Raises:
        InputError: the run has no search, or its log is gone.
    """
    record, log = search_of(run), run.search_log()
    if not log:
        raise input_error(
            "search-log-missing", f"{run.path / SEARCH_LOG} is gone or empty", "the log of the search", "compress again"
        )
    groups, names = group_comparable(log), run.manifest.candidates
    gates = _gates(log)
    pick = run.manifest.plan.layers
    why = REASONS.get(record.strategy, _by_alternatives)
    layers = tuple(
        LayerExplanation(
            name=name,
            skipped=name in pick,
            macs_saved=record.macs_saved[name],
            macs_share=record.macs_saved[name] / record.macs,
            parameters_saved=record.parameters_saved[name],
            parameters_share=record.parameters_saved[name] / record.parameters,
            times=sum(name in entry.layers for entry in log),
            value=contrast_layer(groups, name, "value"),
            loss=contrast_layer(groups, name, "loss"),
            divergence=contrast_layer(groups, name, "divergence"),
            explained=record.explained.get(name),
            history=_history(groups, name, len(pick)),
            gates=tuple(after[name] for after in gates),
            why=f"{'cut' if name in pick else 'kept'}: {why(name, pick, record, log)}",
        )
        for name in names
    )
    return Explanation(
        run=run.path.name,
        strategy=record.strategy,
        metric=record.metric,
        samples=record.samples,
        scored=len(log),
        pick=pick,
        layers=layers,
        interactions=fit_interactions(groups, names),
        standings=_standings(log, pick, len(names)),
    )


def enumerate_all(run: Run, progress: Progress = QUIET) -> Enumeration:
    """Score every subset of the pick's size on all held-out samples, with adapters fitted in closed form.

    Raises:
        UsageError: there are too many.
        InputError: the checkpoint or the data are gone or have changed, or the run began with an untrained head.
    """
    from compressor.compression import Compression
    from compressor.jobs.check_work import MOST_SUBSETS

    settings, pick, candidates = settings_of(run.path), run.manifest.plan.layers, len(run.manifest.candidates)
    subsets = math.comb(candidates, len(pick))
    if subsets > MOST_SUBSETS:
        raise usage_error(
            "too-many-subsets", f"--regret: {subsets:,} subsets", f"at most {MOST_SUBSETS:,}", "leave it out"
        )
    if settings.adapt:
        found = "--regret of a run with --adapt: before the search its head had learnt nothing to score subsets by"
        raise input_error("head-not-trained", found, "a run of a fine-tuned checkpoint", "leave it out")
    progress.say(f"--regret scores all {subsets:,} subsets of {len(pick)} layers on all held-out samples")
    overrides = {"from_run": None, "strategy": "exhaustive", "skip": len(pick)}
    _, search = Compression(settings.model_copy(update=overrides), progress=progress).search()
    (standing,) = _standings(search.log, pick, candidates)
    return Enumeration(standing=standing, forwards=sum(search.result.forwards.values()))


def _gates(log: Sequence[LogEntry]) -> list[Mapping[str, float]]:
    """Return the gates after each update."""
    return list({entry.proposal: entry.gates for entry in log if entry.gates}.values())


def _standings(log: Sequence[LogEntry], pick: Sequence[str], candidates: int) -> tuple[Standing, ...]:
    """Rank the pick, for each number of samples that it was scored on together with others."""
    standings, subsets = [], math.comb(candidates, len(pick))
    for group in group_comparable(entry for entry in log if not entry.trained):
        picks = [entry for entry in group if set(entry.layers) == set(pick)]
        if picks and (len(group) > 1 or subsets == 1):
            best, least = min(group, key=lambda entry: entry.rank_key), min(entry.divergence for entry in group)
            standings.append(
                Standing(
                    samples=picks[0].samples,
                    scored=len(group),
                    subsets=subsets,
                    rank=1 + sum(entry.rank_key < picks[0].rank_key for entry in group),
                    rank_by_divergence=1 + sum(entry.divergence < picks[0].divergence for entry in group),
                    regret=best.value - picks[0].value,
                    regret_in_divergence=picks[0].divergence - least,
                    best=tuple(best.layers),
                )
            )
    return tuple(standings)


def _history(groups: Sequence[Sequence[LogEntry]], name: str, size: int) -> tuple[Moment, ...]:
    """Contrast a layer in each group of subsets of one size, in the order of the search."""
    groups_of_size = sorted((group for group in groups if len(group[0].layers) == size), key=lambda g: g[0].proposal)
    contrasts = ((group, contrast_layer([group], name, "value")) for group in groups_of_size)
    return tuple(
        Moment(samples=group[0].samples, subsets=len(group), value=value) for group, value in contrasts if value
    )


Reason = Callable[[str, Sequence[str], SearchResult, Sequence[LogEntry]], str]


def _by_gates(name: str, pick: Sequence[str], record: SearchResult, log: Sequence[LogEntry]) -> str:
    gates: Mapping[str, Any] = _gates(log)[-1]
    place = 1 + sum(gate > gates[name] for gate in gates.values())
    return f"its gate ended at {gates[name]:+.3f}, number {place} of {len(gates)}; the {len(pick)} highest go"


def _by_influence(name: str, pick: Sequence[str], record: SearchResult, log: Sequence[LogEntry]) -> str:
    place = min(size for size, layers in record.chosen.items() if name in layers)
    return f"by how little it changes its stream it is number {place} of {len(record.chosen)}; the first {len(pick)} go"


def _by_lot(name: str, pick: Sequence[str], record: SearchResult, log: Sequence[LogEntry]) -> str:
    return "at random"


def _by_alternatives(name: str, pick: Sequence[str], record: SearchResult, log: Sequence[LogEntry]) -> str:
    """Compare the best subset of the other kind with the pick, on the most samples that both were scored on."""
    kind = "keeps it" if name in pick else "skips it"
    if found := compare_with_choice(log, name, pick):
        chosen, others = found
        return f"the best subset that {kind} {_compared(others, chosen)} ({chosen.samples:,} samples)"
    origin = min(record.sizes, key=lambda size: abs(size - len(pick)))
    reached = "" if origin == len(pick) else f": the choice was reached from that of {origin}"
    return f"no subset of {len(pick)} layers that {kind} was scored{reached}"


def _compared(others: Sequence[LogEntry], pick: LogEntry) -> str:
    """Compare what subsets were ranked by where the pick is the best, else divergences, which filter them first."""
    best = min(others, key=lambda entry: entry.rank_key)
    if best.readable is not None and pick.readable is not None and best.rank_key >= pick.rank_key:
        return f"leaves {best.readable:.1%} of the answers readable, the pick {pick.readable:.1%}"
    if best.value < pick.value:
        return f"scores {100 * best.value:.2f}, the pick {100 * pick.value:.2f}"
    if best.value == pick.value:
        return f"scores as much and diverges by {best.divergence:.3g}, the pick by {pick.divergence:.3g}"
    return f"diverges by {min(entry.divergence for entry in others):.3g}, the pick by {pick.divergence:.3g}"


REASONS: Mapping[str, Reason] = {"das": _by_gates, "influence": _by_influence, "random": _by_lot}
"""How strategies choose; the others take what scored best."""

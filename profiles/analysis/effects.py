"""Effects of single layers and of pairs, estimated from the scores of many subsets.

Scores of subsets are comparable where the subsets are of one size and were scored on the same held-out samples with the
same adapters: a group. Everything here compares within groups, and weighs what each group says as least squares with a
constant for each group does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, groupby
from typing import Literal

import numpy as np

from compressor.search.result import LogEntry
from compressor.values import Value

Groups = Sequence[Sequence[LogEntry]]
Metric = Literal["value", "loss", "divergence"]
RIDGE = 1e-2  # of the pairs' mean variance


class Contrast(Value):
    """Means of a figure over comparable subsets that skip a layer, and over those that keep it."""

    skipped: float
    kept: float

    @property
    def effect(self) -> float:
        """Return the mean change from skipping the layer."""
        return self.skipped - self.kept


class Alternatives(Value):
    """The best-ranked subsets that skip a layer and that keep it, one of them the choice, on the same samples.

    ``skipped_divergence`` and ``kept_divergence`` are theirs from the full model's answers; ``skipped_readable`` and
    ``kept_readable`` the shares of these that a linear probe reads, None where there was no probe.
    """

    samples: int
    skipped: float
    kept: float
    skipped_divergence: float
    kept_divergence: float
    skipped_readable: float | None = None
    kept_readable: float | None = None


class Interaction(Value):
    """Two layers, and how much more the divergence grows without both than the layers' own effects add up to."""

    layers: tuple[str, str]
    effect: float


class Interactions(Value):
    """A fit of the divergence by effects of layers and of pairs.

    Attributes:
        subsets: comparable ones that it was fitted on.
        needed: as many as there are effects; with fewer nothing is fitted.
        r2_layers, r2: shares of the variance within groups that the layers alone, and with the pairs, explain; None
            where nothing was fitted.
        pairs: the strongest first.
    """

    subsets: int
    needed: int
    r2_layers: float | None = None
    r2: float | None = None
    pairs: tuple[Interaction, ...] = ()


def group_comparable(log: Iterable[LogEntry]) -> list[list[LogEntry]]:
    """Split the log into groups: subsets of one size, on as many samples, and while adapters train of one update.

    Samples are nested: the same number of them are the same ones, except while adapters train.
    """

    def alike(entry: LogEntry) -> tuple[int, int, int]:
        return len(entry.layers), entry.samples, entry.proposal if entry.trained else -1

    return [list(group) for _, group in groupby(sorted(log, key=alike), key=alike)]


def contrast_layer(groups: Groups, layer: str, metric: Metric) -> Contrast | None:
    """Compare subsets that skip a layer with those that keep it, within each group of :func:`group_comparable`.

    A group with m subsets of one kind and n of the other weighs m n / (m + n): the differences then average to what
    least squares with a constant for each group gives.

    Args:
        groups: of :func:`group_comparable`.
        layer: its name.
        metric: a field of the entries.

    Returns:
        None where no group has both kinds.
    """
    contrasts = []
    for group in groups:
        skipped = [getattr(entry, metric) for entry in group if layer in entry.layers]
        kept = [getattr(entry, metric) for entry in group if layer not in entry.layers]
        if skipped and kept:
            weight = len(skipped) * len(kept) / len(group)
            contrasts.append((np.mean(skipped), np.mean(kept), weight))
    if not contrasts:
        return None
    skips, keeps, weights = zip(*contrasts, strict=True)
    return Contrast(skipped=np.average(skips, weights=weights), kept=np.average(keeps, weights=weights))


def compare_with_choice(
    log: Iterable[LogEntry], layer: str, pick: Collection[str]
) -> tuple[LogEntry, list[LogEntry]] | None:
    """Return the choice, and the subsets that decide otherwise on a layer, on the most samples that all were scored on.

    Args:
        log: of the search.
        layer: its name.
        pick: the chosen layers.

    Returns:
        None where no such subset of the choice's size was scored beside it.
    """
    for group in sorted(group_comparable(log), key=lambda group: -group[0].samples):
        picks = [entry for entry in group if set(entry.layers) == set(pick)]
        others = [entry for entry in group if (layer in entry.layers) != (layer in pick)]
        if picks and others:
            return picks[0], others
    return None


def find_alternatives(log: Iterable[LogEntry], layer: str, pick: Collection[str]) -> Alternatives | None:
    """Return the choice and the best subset that decides otherwise on a layer; None where there is none to compare."""
    found = compare_with_choice(log, layer, pick)
    if found is None:
        return None
    chosen, others = found
    other = min(others, key=lambda entry: entry.rank_key)
    skips, keeps = (chosen, other) if layer in pick else (other, chosen)
    return Alternatives(
        samples=chosen.samples,
        skipped=skips.value,
        kept=keeps.value,
        skipped_divergence=skips.divergence,
        kept_divergence=keeps.divergence,
        skipped_readable=skips.readable,
        kept_readable=keeps.readable,
    )


def fit_interactions(groups: Groups, layers: Sequence[str]) -> Interactions:
    """Fit the divergence of subsets by effects of layers and of pairs of layers.

    Least squares with a constant for each group; the effects of pairs by ridge regression on what the layers leave
    (Frisch and Waugh), so that they are second differences of the divergence. Subsets of one size leave a pair's
    effect open up to what its layers do in an average pair: it is relative to that.

    Args:
        groups: of :func:`group_comparable`.
        layers: the candidates.
    """
    several = [group for group in groups if len(group) > 1]
    pairs = list(combinations(range(len(layers)), 2))
    subsets = len({tuple(entry.layers) for group in several for entry in group})
    needed = len(layers) + len(pairs) + len(several)
    if not pairs or subsets < needed:
        return Interactions(subsets=subsets, needed=needed)
    designs, divergence = [], []
    for group in several:
        members = np.array([[layer in entry.layers for layer in layers] for entry in group], dtype=float)
        both = np.stack([members[:, i] * members[:, j] for i, j in pairs], axis=1)
        design = np.concatenate([members, both], axis=1)
        designs.append(design - design.mean(0))
        values = np.array([entry.divergence for entry in group])
        divergence.append(values - values.mean())
    x, y = np.concatenate(designs), np.concatenate(divergence)
    single, together = x[:, : len(layers)], x[:, len(layers) :]
    residual_pairs, unexplained = (
        part - single @ np.linalg.lstsq(single, part, rcond=None)[0] for part in (together, y)
    )
    covariance = residual_pairs.T @ residual_pairs
    ridge = RIDGE * covariance.diagonal().mean() * np.eye(len(pairs))
    effects = np.linalg.solve(covariance + ridge, residual_pairs.T @ unexplained)
    total, rest = float(y @ y) or 1.0, unexplained - residual_pairs @ effects
    strongest = sorted(zip(pairs, effects.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    return Interactions(
        subsets=subsets,
        needed=needed,
        r2_layers=1 - float(unexplained @ unexplained) / total,
        r2=1 - float(rest @ rest) / total,
        pairs=tuple(Interaction(layers=(layers[i], layers[j]), effect=effect) for (i, j), effect in strongest),
    )

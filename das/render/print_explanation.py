"""Why layers were kept or cut, in the terminal, within 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.text import Text

from das.render.rich_tables import draw
from das.terminal import console
from profiles.analysis.effects import Interactions
from profiles.analysis.explanation import Explanation, LayerExplanation, Standing
from profiles.formatting import Table, format_count
from profiles.reports.compression_report import KEPT, REPLACED

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 40  # characters of a gate's history
MOMENTS = 10  # of a layer's history that are shown
PAIRS = 8  # interactions that are shown


def print_explanation(found: Explanation, folder: Path) -> None:
    """Draw what is known of each layer and of the choice of the run in ``folder``."""
    alone = found.layers[0] if len(found.layers) == 1 else None
    console.print(draw(_figures(found, alone) if alone else _layers(found)))
    console.print(Text(_caption(found, alone), style="dim"))
    if alone and alone.history:
        console.print(draw(_history(found, alone)))
    if any(entry.gates for entry in found.layers):
        console.print(draw(_gates(found)))
    if found.interactions.pairs:
        console.print(draw(_pairs(found.interactions)))
    console.print(Text(_fit(found.interactions), style="dim"))
    if found.standings:
        console.print(draw(_standings(found)))
    console.print(_verdict(found))
    if found.enumeration:
        console.print(_enumerated(found))
    console.print()
    for entry in found.layers:
        console.print(Text(f"{entry.name} {entry.why}"))
    console.print(f"\ndas pareto {folder}", soft_wrap=True)


def _layers(found: Explanation) -> Table:
    """Return each layer's cost and the effect of skipping it, least harmful first."""
    rows = []
    for entry in sorted(found.layers, key=lambda entry: entry.divergence.effect if entry.divergence else 0.0):
        value, divergence = entry.value, entry.divergence
        rows.append(
            (
                entry.name,
                f"{entry.macs_share:.1%}",
                f"{entry.parameters_share:.1%}",
                str(entry.times),
                *((f"{100 * value.skipped:.1f}", f"{100 * value.kept:.1f}") if value else ("", "")),
                *((f"{divergence.skipped:.3f}", f"{divergence.effect:+.3f}") if divergence else ("", "")),
                f"{REPLACED} cut" if entry.skipped else f"{KEPT} kept",
            )
        )
    header = ("layer", "MACs", "params", "times", "score", "kept", "diverges", "effect", "")
    return Table(f"What skipping each layer does ({found.strategy})", header, tuple(rows))


def _figures(found: Explanation, entry: LayerExplanation) -> Table:
    """Return the effect of skipping one layer on each figure."""
    measured = ((found.metric + ", %", 100, entry.value), ("loss", 1, entry.loss), ("divergence", 1, entry.divergence))
    rows = tuple(
        (name, f"{scale * means.skipped:.3f}", f"{scale * means.kept:.3f}", f"{scale * means.effect:+.3f}")
        for name, scale, means in measured
        if means
    )
    return Table(f"What skipping {entry.name} does ({found.strategy})", ("", "skipped", "kept", "effect"), rows)


def _history(found: Explanation, entry: LayerExplanation) -> Table:
    """Return one layer's scores as the search went on; of many updates the last ones."""
    rows = tuple(
        (
            f"{moment.subsets:,}",
            f"{moment.samples:,}",
            f"{100 * moment.value.skipped:.2f}",
            f"{100 * moment.value.kept:.2f}",
            f"{100 * moment.value.effect:+.2f}",
        )
        for moment in entry.history[-MOMENTS:]
    )
    header = ("subsets", "samples", "skipped", "kept", "effect")
    return Table(f"{found.metric}, %, of {len(found.pick)} layers less, as the search went on", header, rows)


def _caption(found: Explanation, alone: LayerExplanation | None) -> str:
    """Describe the figures."""
    compared = (
        "Means over scored subsets, before any recovery; compared are only those of one size, on the same held-out "
        "samples and with the same adapters."
    )
    if alone:
        return (
            f"{compared} {alone.name} saves {format_count(alone.macs_saved)} MACs ({alone.macs_share:.1%}) and "
            f"{format_count(alone.parameters_saved)} parameters ({alone.parameters_share:.1%}), its adapter "
            f"counted in; {alone.times:,} of the {found.scored:,} scores in the log are of subsets that skip it."
            + (
                f" Its adapter in closed form explains {alone.explained:.0%} of what it does."
                if alone.explained
                else ""
            )
        )
    return (
        f"MACs, params: what skipping saves of the full model. times: how many of the {found.scored:,} scores in the "
        f"log are of subsets that skip the layer. score, diverges: their {found.metric} in % and divergence from the "
        f"full model; kept: the score of those that keep it; effect: what skipping adds to the divergence. {compared}"
    )


def _gates(found: Explanation) -> Table:
    """Return the gates over the updates, all on one scale."""
    every = [gate for entry in found.layers for gate in entry.gates]
    low, high = min(every), max(every)
    order = sorted(found.layers, key=lambda entry: -entry.gates[-1])
    rows = tuple((entry.name, f"{entry.gates[-1]:+.3f}", _sparkline(entry.gates, low, high)) for entry in order)
    updates = len(found.layers[0].gates)
    title = f"Gates over {updates} updates, from {low:+.3f} to {high:+.3f}: the highest go"
    return Table(title, ("layer", "gate", "history"), rows)


def _sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw a bar for each of at most 40 even steps through ``values``."""
    steps = np.linspace(0, len(values) - 1, min(HISTORY, len(values))).round().astype(int)
    scale = (len(BARS) - 1) / ((high - low) or 1)
    return "".join(BARS[round((values[step] - low) * scale)] for step in steps)


def _pairs(found: Interactions) -> Table:
    rows = tuple(
        (" + ".join(pair.layers), f"{pair.effect:+.3f}", "worse together" if pair.effect > 0 else "less bad together")
        for pair in found.pairs[:PAIRS]
    )
    return Table("Strongest interactions", ("layers", "divergence", ""), rows)


def _fit(found: Interactions) -> str:
    if found.r2 is None:
        return (
            f"Interactions: {found.subsets} comparable subsets are too few to tell, {found.needed} effects would have "
            "to be fitted."
        )
    return (
        f"Interactions: least squares on {found.subsets:,} comparable subsets; the layers by themselves explain "
        f"{found.r2_layers:.0%} of the divergence's variance (R²), with their pairs {found.r2:.0%}. A pair's effect "
        "is what both together add, compared with what they add in an average pair."
    )


def _standings(found: Explanation) -> Table:
    rows = tuple(
        (
            f"{entry.samples:,}",
            f"{entry.scored:,} of {entry.subsets:,}",
            str(entry.rank),
            f"{100 * entry.regret:.2f}",
            str(entry.rank_by_divergence),
            f"{entry.regret_in_divergence:.3f}",
        )
        for entry in found.standings
    )
    header = ("samples", "subsets scored", "rank", "regret", "divergence: rank", "regret")
    return Table(f"The choice among all of {len(found.pick)} layers ({found.metric} in points)", header, rows)


def _verdict(found: Explanation) -> str:
    """Describe the rank of the choice and the scores it rests on."""
    ask = "das explain --regret scores them all."
    if not found.standings:
        return f"No other subset of this size was scored on the same samples as the choice: no rank. {ask}"
    last = found.standings[-1]
    if last.scored == last.subsets:
        return f"{_exact(last)} on {last.samples:,} held-out samples, by the search's adapters."
    widest = max(found.standings, key=lambda entry: (entry.scored, entry.samples))
    earlier = (
        f" Of the {widest.scored:,} scored on {widest.samples:,} samples it is number {widest.rank_by_divergence} by "
        "divergence."
        if widest != last
        else ""
    )
    return (
        f"Rank {last.rank} of the {last.scored:,} that were scored on {last.samples:,} samples; the other "
        f"{last.subsets - last.scored:,} of this size were not.{earlier} {ask}"
    )


def _exact(standing: Standing) -> str:
    return (
        f"Rank {standing.rank} of all {standing.subsets:,} subsets of its size, regret {100 * standing.regret:.2f} "
        f"points (divergence: rank {standing.rank_by_divergence}, regret {standing.regret_in_divergence:.3f})"
    )


def _enumerated(found: Explanation) -> str:
    assert found.enumeration
    standing = found.enumeration.standing
    best = "" if standing.rank == 1 else f" The best is {', '.join(standing.best)}."
    return (
        f"--regret: {_exact(standing)} on {standing.samples:,} held-out samples, by adapters fitted in closed form; "
        f"as much work as {found.enumeration.forwards:,.0f} forward passes of the full model.{best}"
    )

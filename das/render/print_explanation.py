"""Why layers were kept or cut, in the terminal, within 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.text import Text

from compressor.errors import input_error
from compressor.saved_run.run_folder import Run
from das.render.rich_tables import draw
from das.terminal import console
from profiles.analysis.effects import Interactions, find_alternatives
from profiles.analysis.explanation import Explanation, LayerExplanation, Standing
from profiles.formatting import Table, format_count
from profiles.reports.compression_report import KEPT, REPLACED

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 40  # characters of a gate's history
MOMENTS = 10  # of a layer's history that are shown
PAIRS = 8  # interactions that are shown


def print_explanation(explanation: Explanation, folder: Path) -> None:
    """Draw what is known of each layer and of the choice of the run in ``folder``."""
    single = explanation.layers[0] if len(explanation.layers) == 1 else None
    console.print(draw(_figures(explanation, single) if single else _layers(explanation)))
    console.print(Text(_caption(explanation, single), style="dim"))
    if single and single.history:
        console.print(draw(_history(explanation, single)))
    if any(entry.gates for entry in explanation.layers):
        console.print(draw(_gates(explanation)))
    if explanation.interactions.pairs:
        console.print(draw(_pairs(explanation.interactions)))
    console.print(Text(_fit(explanation.interactions), style="dim"))
    if explanation.standings:
        console.print(draw(_standings(explanation)))
    console.print(_verdict(explanation))
    if explanation.enumeration:
        console.print(_enumerated(explanation))
    console.print()
    for entry in explanation.layers:
        console.print(Text(f"{entry.name} {entry.why}"))
    console.print(f"\ndas pareto {folder}", soft_wrap=True)


def _layers(explanation: Explanation) -> Table:
    """Return each layer's cost and the effect of skipping it, least harmful first."""
    rows = []
    for entry in sorted(explanation.layers, key=lambda entry: entry.divergence.effect if entry.divergence else 0.0):
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
    return Table(f"What skipping each layer does ({explanation.strategy})", header, tuple(rows))


def _figures(explanation: Explanation, entry: LayerExplanation) -> Table:
    """Return the effect of skipping one layer on each figure."""
    contrasts = (
        (explanation.metric + ", %", 100, entry.value),
        ("loss", 1, entry.loss),
        ("divergence", 1, entry.divergence),
    )
    rows = tuple(
        (name, f"{scale * means.skipped:.3f}", f"{scale * means.kept:.3f}", f"{scale * means.effect:+.3f}")
        for name, scale, means in contrasts
        if means
    )
    return Table(f"What skipping {entry.name} does ({explanation.strategy})", ("", "skipped", "kept", "effect"), rows)


def _history(explanation: Explanation, entry: LayerExplanation) -> Table:
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
    return Table(
        f"{explanation.metric}, %, without {len(explanation.pick)} layers, at each stage of the search", header, rows
    )


def _caption(explanation: Explanation, single: LayerExplanation | None) -> str:
    """Describe the figures."""
    comparison = (
        "Means over scored subsets, before any recovery; compared are only those of one size, on the same held-out "
        "samples and with the same adapters."
    )
    if single:
        return (
            f"{comparison} {single.name} saves {format_count(single.macs_saved)} MACs ({single.macs_share:.1%}) and "
            f"{format_count(single.parameters_saved)} parameters ({single.parameters_share:.1%}), its adapter counted "
            f"in and before exact trims; {single.times:,} of the {explanation.scored:,} scores in the log are of "
            "subsets that skip it."
            + (
                f" An adapter fitted by least squares explains {single.explained:.0%} of what it does."
                if single.explained
                else ""
            )
        )
    return (
        "MACs, params: what skipping saves of the full model, before exact trims. times: how many of the "
        f"{explanation.scored:,} scores in the log are of subsets that skip the layer. score, diverges: their "
        f"{explanation.metric} in % and divergence from the full model; kept: the score of those that keep it; effect: "
        "what skipping adds to the divergence. "
        f"{comparison}"
    )


def _gates(explanation: Explanation) -> Table:
    """Return the gates over the updates, all on one scale."""
    gates = [gate for entry in explanation.layers for gate in entry.gates]
    low, high = min(gates), max(gates)
    order = sorted(explanation.layers, key=lambda entry: -entry.gates[-1])
    rows = tuple((entry.name, f"{entry.gates[-1]:+.3f}", _sparkline(entry.gates, low, high)) for entry in order)
    updates = len(explanation.layers[0].gates)
    title = f"Gates over {updates} updates, from {low:+.3f} to {high:+.3f}: the highest go"
    return Table(title, ("layer", "gate", "history"), rows)


def _sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw a bar for each of at most 40 even steps through ``values``."""
    steps = np.linspace(0, len(values) - 1, min(HISTORY, len(values))).round().astype(int)
    scale = (len(BARS) - 1) / ((high - low) or 1)
    return "".join(BARS[round((values[step] - low) * scale)] for step in steps)


def _pairs(interactions: Interactions) -> Table:
    rows = tuple(
        (" + ".join(pair.layers), f"{pair.effect:+.3f}", "worse together" if pair.effect > 0 else "less bad together")
        for pair in interactions.pairs[:PAIRS]
    )
    return Table("Strongest interactions", ("layers", "divergence", ""), rows)


def _fit(interactions: Interactions) -> str:
    if interactions.r2 is None:
        return (
            f"Interactions: {interactions.subsets} comparable subsets are too few to tell, {interactions.needed} "
            "effects would have to be fitted."
        )
    return (
        f"Interactions: least squares on {interactions.subsets:,} comparable subsets; the layers by themselves explain "
        f"{interactions.r2_layers:.0%} of the divergence's variance (R²), with their pairs {interactions.r2:.0%}. "
        "A pair's effect is what both together add, compared with what they add in an average pair."
    )


def _standings(explanation: Explanation) -> Table:
    rows = tuple(
        (
            f"{entry.samples:,}",
            f"{entry.scored:,} of {entry.subsets:,}",
            str(entry.rank),
            f"{100 * entry.regret:.2f}",
            str(entry.rank_by_divergence),
            f"{entry.regret_in_divergence:.3f}",
        )
        for entry in explanation.standings
    )
    header = ("samples", "subsets scored", "rank", "regret", "divergence: rank", "regret")
    return Table(
        f"The choice among all of {len(explanation.pick)} layers ({explanation.metric} in points)", header, rows
    )


def _verdict(explanation: Explanation) -> str:
    """Describe the rank of the choice and the scores it rests on."""
    ask = "das explain --regret scores them all."
    if not explanation.standings:
        return f"No other subset of this size was scored on the same samples as the choice: no rank. {ask}"
    last = explanation.standings[-1]
    if last.scored == last.subsets:
        return f"{_exact(last)} on {last.samples:,} held-out samples, by the search's adapters."
    widest = max(explanation.standings, key=lambda entry: (entry.scored, entry.samples))
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


def _enumerated(explanation: Explanation) -> str:
    assert explanation.enumeration
    standing = explanation.enumeration.standing
    best = "" if standing.rank == 1 else f" The best is {', '.join(standing.best)}."
    return (
        f"--regret: {_exact(standing)} on {standing.samples:,} held-out samples, with adapters fitted by "
        f"least squares; as much work as {explanation.enumeration.forwards:,.0f} forward passes of the full model."
        f"{best}"
    )


def save_explanation_svg(run: Run, explanation: Explanation, path: Path) -> None:
    """Write the gates after every update, else the scores with and without each layer, as a figure; the same bytes.

    Raises:
        InputError: the search scored no subsets to compare.
        EnvironmentProblem: the file cannot be written.
    """
    from profiles.reports.plots import draw_gates, draw_scores, save_svg

    layers = [entry for entry in explanation.layers if entry.gates]
    if layers:
        updates = range(len(layers[0].gates))
        history = [{entry.name: entry.gates[update] for entry in layers} for update in updates]
        save_svg(draw_gates(history, explanation.pick), path)
        return
    log = run.search_log()
    scores = {
        entry.name: found
        for entry in explanation.layers
        if (found := find_alternatives(log, entry.name, explanation.pick))
    }
    if not scores:
        raise input_error(
            "nothing-to-draw",
            f"strategy {explanation.strategy} scored no subsets that differ in one layer",
            "a search with gates, or with scores to compare",
            "leave --svg out, or search with --strategy das or auto",
        )
    save_svg(draw_scores(scores, explanation.pick, explanation.metric), path)

"""Times of single layers, and the predicted gain of each skipped layer, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.models.layer_parts import layer_of, layers_of
from profiles.comparison.full_vs_slim import ProfileReport
from profiles.formatting import Row, Table
from profiles.timing.layer_times import LayerTime, LayerTimes
from profiles.timing.roofline import Peaks, compute_roofline

WITHIN = 0.15  # of the whole: what the sum of the layers may be off


@dataclass(frozen=True)
class Gain:
    """Milliseconds that skipping a layer should bring, its adapter taken off.

    ``by_macs`` takes the full model's latency to follow its MACs; ``by_time`` is the layer's own time.
    """

    name: str
    by_macs: float
    by_time: float


@dataclass(frozen=True)
class Gains:
    """The predicted gain of each skipped layer, and the ``measured`` gain of the whole slim model in ms.

    ``together`` are these layers, ``rest`` all other parts with the overhead: exact trims show there. By time, both sum
    to what was measured.
    """

    layers: tuple[Gain, ...]
    together: Gain
    rest: Gain
    measured: float


def predict_gains(full: LayerTimes, slim: LayerTimes, skipped: Sequence[str]) -> Gains:
    """Predict the gain of skipping ``skipped`` in a runtime, beside the measured one.

    Args:
        full: of the full model.
        slim: of the slim one, measured in turns with it.
        skipped: names of the layers.
    """
    before = {layer.name: layer for layer in full.layers}
    ms_per_mac, measured_ms = full.whole_ms / full.macs, full.whole_ms - slim.whole_ms

    def gain(name: str) -> Gain:
        # The adapter in its place, or its parts; none where trims leave out a stream with its adapters.
        layer, left = before[name], [one for one in slim.layers if layer_of(one.name) == name]
        macs, ms = sum(one.macs for one in left), sum(one.ms for one in left)
        return Gain(name, ms_per_mac * (layer.macs - macs), layer.ms - ms)

    layers = tuple(map(gain, layers_of(skipped)))
    together = Gain(
        "these layers",
        sum(layer.by_macs for layer in layers),
        sum(layer.by_time for layer in layers),
    )
    by_macs = ms_per_mac * (full.macs - slim.macs) - together.by_macs
    return Gains(layers, together, Gain("all else", by_macs, measured_ms - together.by_time), measured_ms)


def tabulate_layer_times(profile: ProfileReport) -> list[Table]:
    """Return times of layers and gains of cuts, in every runtime whose layers were timed."""
    tables = [tabulate_sums(profile.layers)] if profile.layers else []
    for peak, gains in zip(profile.peaks, tabulate_all_gains(profile), strict=True):
        times_in_runtime = [times for times in profile.layers if times.runtime == peak.runtime]
        tables += [gains, *(tabulate_layers(times, peak) for times in times_in_runtime)]
    return tables


def tabulate_all_gains(profile: ProfileReport) -> tuple[Table, ...]:
    """Return the gains of the cut in every runtime whose layers were timed."""
    tables = []
    for peak in profile.peaks:
        times = {times.which: times for times in profile.layers if times.runtime == peak.runtime}
        tables.append(tabulate_gains(times["full"], times["slim"], profile.skipped))
    return tuple(tables)


def tabulate_layers(times: LayerTimes, peaks: Peaks) -> Table:
    """Return milliseconds, shares, and the roofline of every layer, under the sum of its pool."""
    rows: list[Row] = []
    for pool in dict.fromkeys(layer.pool for layer in times.layers):
        layers = [layer for layer in times.layers if layer.pool == pool]
        if len(layers) > 1:
            rows.append(_row(_sum(pool, layers), times, peaks))
        rows += [_row(layer, times, peaks, "  " if len(layers) > 1 else "") for layer in layers]
    rows.append(_row(_sum("one call", times.layers), times, peaks))
    reached = f"peaks {peaks.gflops:.0f} GFLOP/s, {peaks.gbs:.0f} GB/s"
    title = f"Layers of the {times.which} model in {times.runtime} ({reached})"
    return Table(title, ("", "ms", "share", "MACs", "GFLOP/s", "of peak", "bound by"), tuple(rows))


def tabulate_sums(measured: Iterable[LayerTimes]) -> Table:
    """Compare the sum of layers with the whole, for every model and runtime."""
    rows = []
    for times in measured:
        share = times.seen_ms / times.whole_ms
        within = "yes" if abs(share - 1) <= WITHIN else "no"
        name = f"{times.runtime}, {times.which}"
        rows.append((name, f"{times.whole_ms:.2f}", f"{times.seen_ms:.2f}", f"{share:.1%}", within))
    header = ("", "whole, ms", "layers, ms", "of the whole", f"within {WITHIN:.0%}")
    return Table("Sum of the layers against the whole", header, tuple(rows))


def tabulate_gains(full: LayerTimes, slim: LayerTimes, skipped: Sequence[str]) -> Table:
    """Return the predicted gain of each skipped layer, by MACs and by time, and the measured gain."""
    predicted = predict_gains(full, slim, skipped)

    def row(gain: Gain, indent: str = "") -> Row:
        columns = ((f"{ms:.2f}", f"{ms / full.whole_ms:.1%}") for ms in (gain.by_macs, gain.by_time))
        return indent + gain.name, *(text for column in columns for text in column)

    rows = [row(gain, "  ") for gain in predicted.layers] + [row(predicted.together), row(predicted.rest)]
    rows.append(("measured", "", "", f"{predicted.measured:.2f}", f"{predicted.measured / full.whole_ms:.1%}"))
    title = f"What skipping brings in {full.runtime}, each layer less its adapter"
    return Table(title, ("", "by MACs, ms", "of full", "by time, ms", "of full"), tuple(rows))


def _sum(name: str, layers: Sequence[LayerTime]) -> LayerTime:
    return LayerTime(
        name=name,
        pool="",
        ms=sum(layer.ms for layer in layers),
        macs=sum(layer.macs for layer in layers),
        bytes=sum(layer.bytes for layer in layers),
    )


def _row(layer: LayerTime, times: LayerTimes, peaks: Peaks, indent: str = "") -> Row:
    placement = compute_roofline(layer, peaks)
    columns = (f"{placement.gflops:.1f}", f"{placement.share:.0%}", placement.bound) if placement else ("", "", "")
    share, macs = (f"{part:.1%}" for part in (layer.ms / times.whole_ms, layer.macs / times.macs))
    return indent + layer.name, f"{layer.ms:.2f}", share, macs if layer.macs else "", *columns

"""Tables and sentences of a profile, of MACs and of latencies; terminal, Markdown and HTML only draw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from compressor.costs.model_costs import Pair, Trims, share_macs
from profiles.comparison.full_vs_slim import NOT_EXPORTED, AgreementPair, ProfileReport, RuntimeProfile, Variant
from profiles.deployment.fastest import tabulate_ways
from profiles.formatting import HEADER, Row, Table, format_bytes, format_count, format_number
from profiles.macs.agreement import describe_agreement
from profiles.timing.latency import Latency
from profiles.timing.shared_image import Questions
from profiles.timing.sweeps import UNITS, SweepPoint

LAYERS, MERGING, TRIMS = "  by layers", "  by merged tokens", "  by exact trims, no accuracy cost"


def tabulate_profile_costs(report: ProfileReport) -> Table:
    """Return MACs, parameters, weights as each runtime reads them, and memory of full and slim."""
    files = {f"weights, {runtime.name}": runtime.file_bytes for runtime in report.runtimes}
    return tabulate_costs(
        report.macs, report.macs_by_pool, report.trims, report.parameters, files | collect_peaks(report)
    )


def tabulate_costs(
    macs: Pair,
    macs_by_pool: Mapping[str, Pair],
    trims: Trims,
    parameters: Pair,
    sizes: Mapping[str, Pair],
) -> Table:
    """Return MACs by part, what saves how many, parameters, and ``sizes`` in bytes, of full and slim."""
    parts = {part: pair for part, pair in macs_by_pool.items() if pair.full or pair.slim}
    share, by_layers = share_macs(macs, trims), macs.full - trims.before - trims.merging
    merged = (MERGING, "", "", format_count(trims.merging, like=macs.full), f"{share.merging:.1%}")
    rows = (
        _row(HEADER, macs),
        *(_row(f"  {part}", pair, macs.full) for part, pair in parts.items()),
        (LAYERS, "", "", format_count(by_layers, like=macs.full), f"{share.layers:.1%}"),
        *([merged] if trims.merging else []),
        (TRIMS, "", "", format_count(trims.saved, like=macs.full), f"{share.trims:.1%}"),
        _row("parameters", parameters),
        *(_row(name, pair, unit="B") for name, pair in sizes.items()),
    )
    return Table("What it costs", ("", "full", "slim", "saved", ""), rows)


def collect_peaks(report: ProfileReport) -> dict[str, Pair]:
    """Return peak memory of full and slim in bytes, by the name of its row; on the GPU where it was measured there."""
    return {
        f"peak {'GPU ' if runtime.memory.gpu else ''}memory, {runtime.name}": runtime.memory.peak
        for runtime in report.runtimes
        if runtime.memory
    }


def tabulate_variants(report: ProfileReport) -> Table:
    """Return score, latency and size of full and slim in every precision, and the gain over full in the first one."""
    rows = []
    for runtime in report.runtimes:
        for variant in runtime.variants:
            speedup, size = variant.speedup, variant.file_bytes
            rows.append(
                (
                    f"{runtime.name}, {variant.name}",
                    f"{100 * variant.score.after:.2f}" if variant.score else "",
                    format_number(variant.latency.p50_ms),
                    f"{speedup.ratio:.2f}x" if speedup else "",
                    f"{speedup.low:.2f}-{speedup.high:.2f}" if speedup else "",
                    format_bytes(size),
                    f"{size / runtime.file_bytes.full - 1:+.1%}" if speedup else "",
                )
            )
    header = ("", "score", "p50 ms", "faster", "95 %", "size", "")
    return Table(f"In turns: {describe_call(report)}", header, tuple(rows))


def describe_variants(report: ProfileReport) -> tuple[str, ...]:
    """Return what scores are of, and what each precision, the cut and both bring in each runtime."""
    scores = [variant.score for runtime in report.runtimes for variant in runtime.variants if variant.score]
    metric = dict.fromkeys(score.metric for score in scores)
    lines = [f"score: {name}, %, of the {report.scored:,} evaluation samples that certify exports" for name in metric]
    for runtime in report.runtimes:
        gains = {variant.name: variant.speedup for variant in runtime.variants if variant.speedup}
        for precision in dict.fromkeys(variant.precision for variant in runtime.others):
            parts = (
                (f"{precision} alone", gains.get(f"full {precision}")),
                ("the cut alone", runtime.speedup),
                ("both", gains.get(f"slim {precision}")),
            )
            words = ", ".join(f"{part} {f'{gain.ratio:.2f}x' if gain else 'not measured'}" for part, gain in parts)
            lines.append(f"{runtime.name}: {words} faster than the full model in {runtime.precision}")
    unexported = [entry for entry in report.not_measured if entry.why.startswith(NOT_EXPORTED)]
    return (*lines, *(f"{entry.what}: {entry.why}" for entry in unexported))


def describe_call(report: ProfileReport) -> str:
    """Return what one timed call is: batch, sizes of a sample, device and threads."""
    sizes = [f"{report.text_length} tokens"] * bool(report.text_length)
    sizes += ["{} x {} px".format(*report.image_size)] if report.image_size else []
    parts = (f"batch {report.batch}", *sizes, report.environment.device, report.environment.cpu_threads)
    return ", ".join(parts)


def _named(runtimes: Sequence[RuntimeProfile]) -> Iterator[tuple[str, Variant]]:
    for runtime in runtimes:
        for variant in runtime.variants:
            yield f"{runtime.name}, {variant.name}", variant


def tabulate_latencies(report: ProfileReport) -> Table:
    """Return quantiles and throughput of full and slim in every runtime; the GPU's own median from CUDA events."""
    latencies = [(name, variant.latency) for name, variant in _named(report.runtimes)]
    on_gpu = any(latency.gpu_p50_ms is not None for _, latency in latencies)
    header = ("", "p50", "p90", "p99", *(("p50 GPU",) if on_gpu else ()), "spread", "n", "samples/s")
    return Table(
        f"Latency in ms ({describe_call(report)})",
        header,
        tuple((name, *_times(latency, on_gpu)) for name, latency in latencies),
    )


def tabulate_times(report: ProfileReport) -> tuple[Table, ...]:
    """Return every table of times that the report has."""
    questions, started = report.questions, [entry for entry in report.runtimes if entry.started]
    tables = [tabulate_latencies(report), tabulate_speedups(report)]
    tables += [tabulate_starts(started)] if started else []
    tables += [tabulate_memory(entries)] if (entries := [entry for entry in report.runtimes if entry.memory]) else []
    tables += [tabulate_ways(report.fastest)] if report.fastest and len(report.fastest.ways) > 1 else []
    tables += [tabulate_questions(questions)] if questions else []
    axes = dict.fromkeys(point.axis for point in report.sweeps)
    return (*tables, *(tabulate_sweep([point for point in report.sweeps if point.axis == axis]) for axis in axes))


def tabulate_speedups(report: ProfileReport) -> Table:
    """Return each speed-up, how far one pair of processes knows it, and how far pairs differ beyond that."""
    found = {runtime.name: runtime.speedup for runtime in report.runtimes}
    rows = [
        (
            name,
            f"{speedup.ratio:.2f}x",
            f"{speedup.low:.2f}-{speedup.high:.2f}",
            str(speedup.pairs),
            *("" if spread is None else f"{spread:.1%}" for spread in (speedup.within, speedup.between)),
        )
        for name, speedup in found.items()
    ]
    header = ("", "faster", "95 %", "process pairs", "spread within", "between")
    return Table("How far the speed-up repeats", header, tuple(rows))


def tabulate_starts(runtimes: Sequence[RuntimeProfile]) -> Table:
    """Return the seconds until each model is ready, and the energy of a call where it was read."""
    rows = [
        (
            name,
            f"{variant.started.load_seconds:.2f}",
            f"{variant.started.first_call_seconds:.2f}",
            "" if variant.joules is None else f"{variant.joules:.3g}",
        )
        for name, variant in _named(runtimes)
        if variant.started
    ]
    return Table("From the files to the first answer", ("", "load, s", "first call, s", "J per call"), tuple(rows))


def tabulate_memory(runtimes: Sequence[RuntimeProfile]) -> Table:
    """Return the resident memory of each process: with its libraries, with the model loaded, at the peak."""
    rows = []
    for name, variant in _named(runtimes):
        if memory := variant.memory:
            amounts = (memory.before, memory.loaded, memory.peak, memory.activations)
            rows.append((name, *("" if x is None else format_bytes(x) for x in amounts)))
    return Table("Memory of each process", ("", "libraries", "model loaded", "peak", "activations"), tuple(rows))


def tabulate_sweep(points: Sequence[SweepPoint]) -> Table:
    """Return full and slim at every value of one setting, in every runtime."""
    rows = [
        (
            f"{point.runtime}, {point.value}",
            format_number(point.full.p50_ms),
            format_number(point.slim.p50_ms),
            format_number(point.slim.throughput),
            f"{point.speedup.ratio:.2f}x",
            f"{point.speedup.low:.2f}-{point.speedup.high:.2f}",
        )
        for point in points
    ]
    axis = points[0].axis
    header = ("", "full p50", "slim p50", "samples/s", "faster", "95 %")
    return Table(f"Latency in ms over {axis} ({UNITS[axis]}), throughput of slim", header, tuple(rows))


def tabulate_questions(questions: Questions) -> Table:
    """Return the times of all questions on one image: in one batch of the whole graph, and by the split export."""
    latencies = [
        (f"{which}, {how}", latency)
        for which, times in (("full", questions.full), ("slim", questions.slim))
        for how, latency in (("whole graph", times.whole), ("vision tower once", times.split))
    ]
    title = f"Latency in ms of {questions.count} question{'s' * (questions.count > 1)} on one image (ONNX Runtime)"
    header = ("", "p50", "p90", "p99", "spread", "n", "questions/s")
    return Table(title, header, tuple((name, *_times(latency, on_gpu=False)) for name, latency in latencies))


def describe_speedups(report: ProfileReport) -> tuple[str, ...]:
    """Return one sentence for each runtime, and for questions on one image one for each model."""
    sentences = tuple(
        f"{runtime.name}: {runtime.speedup.verdict}{f'; {runtime.remark}' if runtime.remark else ''}"
        for runtime in report.runtimes
    )
    if not report.questions:
        return sentences
    both = (("full", report.questions.full), ("slim", report.questions.slim))
    return (*sentences, *(f"{which}, vision tower once: {pair.speedup.verdict}" for which, pair in both))


def list_not_measured(report: ProfileReport) -> tuple[str, ...]:
    """Return the quantities missing from the report with their reasons."""
    return tuple(f"{entry.what}: {entry.why}" for entry in report.not_measured)


def describe_counts(counts: AgreementPair) -> tuple[str, ...]:
    """Describe the agreement of the three counts of MACs of each model."""
    return tuple(
        f"MACs of the {which} model: {describe_agreement(getattr(counts, which))}" for which in ("full", "slim")
    )


def _row(name: str, pair: Pair, like: int | None = None, unit: str = "") -> Row:
    values = (pair.full, pair.slim, -pair.difference)
    full, slim, saved = (format_count(value, unit, like or pair.full) for value in values)
    share = f"{-pair.difference / pair.full:.1%}" if pair.full else ""
    return (name, full, slim, saved, share) if pair.difference else (name, full, slim, "", "")


def _times(latency: Latency, on_gpu: bool) -> Row:
    times = tuple(map(format_number, (latency.p50_ms, latency.p90_ms, latency.p99_ms)))
    events = "" if latency.gpu_p50_ms is None else format_number(latency.gpu_p50_ms)
    return (
        *times,
        *((events,) if on_gpu else ()),
        f"{latency.spread:.1%}",
        str(latency.n),
        format_number(latency.throughput),
    )

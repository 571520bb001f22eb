"""What the fastest way may cost, and what das says of it."""

from __future__ import annotations

from exporters.checks.records import MetricChange
from profiles.comparison.full_vs_slim import Fastest
from profiles.formatting import Table, format_number

MOST_LOST = 0.003  # of the task's score, as a share, that a runtime and a precision may cost
IN_PYTORCH = "PyTorch, fp32"


def costs_too_much(change: MetricChange | None) -> bool:
    """Return whether a runtime and a precision cost more than 0.3 points of the score, and more than chance explains.

    Chance is half the 95 % interval of the change: on 200 samples it is wider than 0.3 points wherever answers change.
    A change that nobody knows, as of retrieval or without labels, is left to the certificate's limit on logits.
    """
    return change is not None and -change.change > max(MOST_LOST, change.margin)


def describe_fastest(fastest: Fastest) -> str:
    """Return the verdict as one sentence: the fastest way, what it costs in answers, and what the cut adds to it."""
    file = f" ({fastest.file})" if fastest.file else ""
    parts = [
        f"Fastest on this machine: slim in {fastest.runtime}, {fastest.precision}{file}, "
        f"{format_number(fastest.p50_ms)} ms"
    ]
    if len(fastest.ways) > 1 and (slower := fastest.ways[1].slower):
        other = fastest.ways[1]
        parts.append(f"against the next, {other.runtime} in {other.precision}, {slower.verdict}")
    parts.append(f"it costs {_describe_cost(fastest)}")
    parts.append(f"the cut there: {fastest.cut.verdict if fastest.cut else 'not measured, full does not pass in it'}")
    parts += [f"passed over: {entry.what}, {entry.why}" for entry in fastest.passed_over]
    return "; ".join(parts) + "."


def tabulate_ways(fastest: Fastest) -> Table:
    """Return the best way of each runtime, all in turns."""
    rows = [
        (
            f"{way.runtime}, {way.precision}",
            format_number(way.latency.p50_ms),
            f"{way.slower.ratio:.2f}x" if way.slower else "",
            f"{way.slower.low:.2f}-{way.slower.high:.2f}" if way.slower else "",
        )
        for way in fastest.ways
    ]
    return Table("Slim in the best of each runtime, in turns", ("", "p50 ms", "first is faster", "95 %"), tuple(rows))


def _describe_cost(fastest: Fastest) -> str:
    """Return what of the answers runtime and precision cost, and all of slim's loss against the full model."""
    answers = fastest.answers
    if answers is None:
        return "nobody knows what of the answers (das verify)"
    parts = [describe_change(answers.change)] if answers.change else []
    parts += [f"{answers.agreement:.1%} the same answers"] if answers.agreement is not None else []
    cost = " and ".join(parts) or "no more than its certificate says of the outputs"
    whole = f" ({100 * fastest.score.change:+.2f} against full)" if fastest.score else ""
    return f"{cost} against slim in {IN_PYTORCH}{whole}"


def describe_loss(change: MetricChange) -> str:
    """Return that a change costs too much, as :func:`costs_too_much` found."""
    return f"{describe_change(change)}, more than {100 * MOST_LOST:g} and chance"


def describe_change(change: MetricChange) -> str:
    """Return the change of a score in points, with half its 95 % interval."""
    return f"{change.metric} {100 * change.change:+.2f} ± {100 * change.margin:.2f} points"

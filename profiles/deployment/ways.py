"""The runtimes and precisions that a comparison is asked for, and why some of them cannot run here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.device import choose_device
from compressor.errors import Checks, EnvironmentProblem, Problem, UsageError
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes import RUNTIMES, find_runtimes, obstacles
from exporters.runtimes.runtime import Runtime

ALL = "all"  # in place of names: everything that runs here


@dataclass(frozen=True)
class Ways:
    """What a comparison is asked for.

    Attributes:
        runtimes: those to measure.
        precisions: those to measure where they run; none means those that slim was exported in.
        every: whether all runtimes that run here were asked for, and not some by name.
    """

    runtimes: tuple[Runtime, ...]
    precisions: tuple[Precision, ...] = ()
    every: bool = False

    @property
    def asks_for_fastest(self) -> bool:
        """Return whether it is a question of which way is the fastest, and not of full against slim alone."""
        return self.every or bool(self.precisions)


def choose_ways(runtimes: Sequence[str], precisions: Sequence[str] = (), device: str | None = None) -> Ways:
    """Find what is meant by names, which may be "all"; of each several, parted by commas, may be one of the names.

    Args:
        runtimes: names or aliases of ``RUNTIMES``; none means those used by default.
        precisions: keys of ``PRECISIONS``; none means those that slim was exported in.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.

    Raises:
        UsageError: a runtime, precision or kind of device that das does not know.
        EnvironmentProblem: no such device; or a runtime or precision that was named and cannot run on it.
    """
    checks, chosen = Checks(), tuple[Runtime, ...]()
    asked = _find_precisions(precisions, checks)
    with checks:
        chosen = choose_runtimes(runtimes, device)
        every, place = ALL in split_names(runtimes), choose_device(device).type
        for precision in asked if ALL not in split_names(precisions) else ():
            with checks:
                _require_runnable(f"--precision {precision.name}", chosen, (precision,), place)
        for runtime in chosen if asked and not every else ():
            with checks:
                _require_runnable(f"--runtime {runtime.name}", (runtime,), asked, place)
    checks.raise_found()
    return Ways(chosen, asked, every)


def choose_runtimes(names: Sequence[str], device: str | None = None) -> tuple[Runtime, ...]:
    """Find the runtimes called ``names``, of "all" those that can run on ``device``; without names the usual ones.

    Raises:
        UsageError: a runtime or kind of device that das does not know.
        EnvironmentProblem: no such device, or a runtime that was named and cannot run on it.
    """
    typed = split_names(names)
    requested = find_runtimes(name for name in typed if name != ALL)
    blocked = obstacles(choose_device(device).type)
    if missing := [blocked[runtime.name] for runtime in requested if runtime.name in blocked]:
        raise EnvironmentProblem(*missing)
    able = tuple(runtime for runtime in RUNTIMES if runtime.name not in blocked)
    if ALL in typed:
        return able
    return requested or tuple(runtime for runtime in able if runtime.by_default)


def why_not(runtime: Runtime, precision: Precision, device: str) -> str:
    """Return why ``runtime`` does not run models in ``precision`` on ``device``; empty where it does."""
    known = runtime.precisions if runtime.suffix else ("fp32", *runtime.casts)
    if precision.name not in known:
        return f"{runtime.title} has no {precision.name}"
    return runtime.refuses(precision, device)


def split_names(names: Iterable[str]) -> list[str]:
    """Return the names that were typed, in small letters: several, parted by commas, may be one of them."""
    return [part.strip().lower() for name in names for part in name.split(",") if part.strip()]


def _find_precisions(names: Sequence[str], checks: Checks) -> tuple[Precision, ...]:
    """Return the precisions called ``names``; what das does not know goes to ``checks``."""
    typed, known = split_names(names), (*PRECISIONS, ALL)
    expected, fix = f"one of: {', '.join(known)}", "--precision all"
    with checks:
        if unknown := [name for name in typed if name not in known]:
            raise UsageError(*(Problem("unknown-precision", f"--precision {name}", expected, fix) for name in unknown))
    return tuple(precision for name, precision in PRECISIONS.items() if name in typed or ALL in typed)


def _require_runnable(typed: str, runtimes: Sequence[Runtime], precisions: Sequence[Precision], device: str) -> None:
    """Hold that one of the runtimes runs models in one of the precisions."""
    reasons = [why_not(runtime, precision, device) for runtime in runtimes for precision in precisions]
    if "" not in reasons:
        found, expected = f"{typed}: {'; '.join(dict.fromkeys(reasons))}", "a runtime and a precision that run here"
        raise EnvironmentProblem(Problem("precision-not-here", found, expected, "--runtime all --precision all"))

"""The runtimes that das knows, a file or folder each, and one list: every command, option and report goes by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from itertools import combinations

from compressor.errors import EnvironmentProblem, Problem, UsageError
from exporters.runtimes.runtime import Runtime

FILES = ("torch", "onnxruntime", "compile", "openvino", "tensorrt")  # in the order that reports have


def require_distinct_suffixes(runtimes: Iterable[Runtime]) -> None:
    """Hold that the name of a file says which runtime executes it.

    Raises:
        ValueError: two runtimes have one suffix.
    """
    for one, other in combinations(runtimes, 2):
        if one.suffix and one.suffix == other.suffix:
            raise ValueError(f"the files of {one.name} and {other.name} have the same suffix, {one.suffix}")


RUNTIMES: tuple[Runtime, ...] = tuple(import_module(f"{__name__}.{name}").RUNTIME for name in FILES)
require_distinct_suffixes(RUNTIMES)


def find_runtimes(names: Iterable[str], option: str = "--runtime", executes_files: bool = False) -> tuple[Runtime, ...]:
    """Return the runtimes that ``names``, or aliases, stand for, each once and in the order of the list.

    Args:
        names: as users type them: several, parted by commas, may be one of the names.
        option: where they were typed, for the error.
        executes_files: leave out those that execute the model itself: they have nothing to export or to verify.

    Raises:
        UsageError: names of no runtime, all of them at once, each with the nearest name.
    """
    allowed = [runtime for runtime in RUNTIMES if runtime.suffix or not executes_files]
    known = {name: runtime for runtime in allowed for name in (runtime.name, *runtime.aliases)}
    typed = [part.strip() for name in names for part in name.split(",")]
    problems = [_unknown(name, allowed, option) for name in typed if name.lower() not in known]
    if problems:
        raise UsageError(*problems)
    chosen = [known[name.lower()] for name in typed]
    return tuple(runtime for runtime in allowed if runtime in chosen)


def find_runtime(name: str, option: str = "--runtime") -> Runtime:
    """Return the runtime that ``name``, or an alias, stands for.

    Raises:
        UsageError: none, or several.
    """
    chosen = find_runtimes([name], option)
    if len(chosen) > 1:
        names = ", ".join(runtime.name for runtime in chosen)
        raise UsageError(
            Problem("several-runtimes", f"{option} {name}", f"one of: {names}", f"{option} {chosen[0].name}")
        )
    return chosen[0]


def obstacles(device: str) -> dict[str, Problem]:
    """Return why runtimes cannot run on ``device`` ("cpu" or "cuda"), by name; those that can are not in it."""
    reasons = {}
    for runtime in RUNTIMES:
        try:
            runtime.check(device)
        except EnvironmentProblem as error:
            reasons[runtime.name] = error.problems[0]
    return reasons


def _unknown(name: str, allowed: Sequence[Runtime], option: str) -> Problem:
    """Return the problem with a name that stands for none of ``allowed``; its fix is the one whose name is nearest."""
    words = {word: runtime.name for runtime in allowed for word in (runtime.name, *runtime.aliases)}
    near = get_close_matches(name.lower(), words, n=1, cutoff=0.0)[0]
    known = any(name.lower() in (runtime.name, *runtime.aliases) for runtime in RUNTIMES)
    found = f"{option} {name}" + (", which executes the model itself and no exported file" if known else "")
    names = ", ".join(runtime.name for runtime in allowed)
    return Problem("unknown-runtime", found, f"one of: {names}", f"{option} {words[near]}")

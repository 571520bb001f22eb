"""Claims about a profile that a script can insist on: ``speedup>=1.3,parity=pass``.

``speedup`` is how many times faster slim is than full. ``macs``, ``parameters``, ``file`` and ``memory`` are slim over
full, so 0.8 is four fifths. A name alone must hold in every runtime, ``speedup:onnxruntime`` in that one.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compressor.errors import CheckFailed, Problem, UsageError
from profiles.comparison import Pair, ProfileReport

STATIC, BY_RUNTIME, PARITY = ("macs", "parameters"), ("speedup", "file", "memory"), "parity"
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
PASSED = "passed"


@dataclass(frozen=True)
class Claim:
    """``name`` stands in ``comparison`` to ``bound``; ``text`` is how the user put it."""

    name: str
    comparison: str
    bound: float
    text: str


@dataclass(frozen=True)
class Measured:
    """A value that can be claimed, None when there is none, and a clause about it."""

    name: str
    value: float | None
    words: str


def parse(text: str, runtimes: Sequence[str]) -> tuple[Claim, ...]:
    """Read comma-separated claims; ``runtimes`` are those that a claim may name.

    Raises:
        UsageError: naming every claim that cannot be read.
    """
    names = [*STATIC, *BY_RUNTIME, *(f"{name}:{runtime}" for name in BY_RUNTIME for runtime in runtimes)]
    pattern = re.compile(rf"({'|'.join(names)})\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)")
    claims, problems = [], []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if re.fullmatch(r"parity\s*=\s*pass", part):
            claims.append(Claim(PARITY, ">=", 1, part))
        elif match := pattern.fullmatch(part):
            claims.append(Claim(match[1], match[2], float(match[3]), part))
        else:
            expected = f"parity=pass, or NAME>=NUMBER (also <=, >, <) with a NAME of: {', '.join(names)}"
            problems.append(Problem(f"the claim {part!r}", expected, '--assert "speedup>=1.3,parity=pass"'))
    if problems:
        raise UsageError(*problems)
    return tuple(claims)


def measured(report: ProfileReport, parity: Mapping[str, str]) -> tuple[Measured, ...]:
    """Everything that claims are held against; a quantity of several runtimes once for each.

    Args:
        report: the profile.
        parity: status of each export's parity record, by file name.
    """
    found = [_share("macs", report.macs), _share("parameters", report.parameters), _parity(parity)]
    for runtime in report.runtimes:
        found.append(Measured(f"speedup:{runtime.name}", runtime.speedup.ratio, runtime.speedup.verdict))
        found.append(_share(f"file:{runtime.name}", runtime.file_bytes))
        found.append(_share(f"memory:{runtime.name}", runtime.memory.peak if runtime.memory else None))
    return tuple(found)


def check(claims: Iterable[Claim], found: Sequence[Measured]) -> None:
    """Hold every claim against everything of its name.

    Raises:
        CheckFailed: naming all that do not hold, or were not measured.
    """
    failed = [
        Problem(f"{entry.name}: {entry.words}", claim.text, "see the report; skip other layers, or claim less")
        for claim in claims
        for entry in found
        if claim.name in (entry.name, entry.name.partition(":")[0])
        and (entry.value is None or not COMPARISONS[claim.comparison](entry.value, claim.bound))
    ]
    if failed:
        raise CheckFailed(*failed)


def _share(name: str, pair: Pair | None) -> Measured:
    if pair is None:
        return Measured(name, None, "not measured")
    return Measured(name, pair.slim / pair.full, f"slim over full is {pair.slim / pair.full:.3f}")


def _parity(records: Mapping[str, str]) -> Measured:
    if not records:
        return Measured(PARITY, None, "nothing was exported and compared yet (das export --onnx)")
    words = ", ".join(f"{name} {status}" for name, status in records.items() if status != PASSED)
    return Measured(PARITY, float(not words), words or "every export passed")

"""Layer names, patterns of them, and the plan: which layers go and what stands in their place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from compressor.errors import Problem, UsageError
from compressor.values import Value


class Skip(Value):
    """One skipped layer and the width of the skip adapter that replaces it, 0 where nothing does."""

    layer: str
    adapter_width: int


class Plan(Value):
    """The layers to skip, in the order they run, and what replaces each. JSON both ways."""

    skip: tuple[Skip, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the skipped layers."""
        return tuple(entry.layer for entry in self.skip)


def match_layers(patterns: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of ``layers`` that the patterns name, in ``layers``'s order.

    A pattern is a layer name, a shell pattern (``FL*``) or a range (``LEn6-11``).

    Raises:
        UsageError: naming every pattern that matches nothing, with the nearest layer name for each.

    """
    matches: set[str] = set()
    problems = []
    for pattern in patterns:
        hits = [name for name in layers if fnmatchcase(name, pattern)] or _range(pattern, layers)
        matches.update(hits)
        if not hits:
            near = difflib.get_close_matches(pattern, layers, n=1, cutoff=0.0)
            problems.append(
                Problem(
                    "unknown-layer",
                    f"no layer is named {pattern!r}",
                    f"names or patterns of: {summarise(layers)}",
                    f"did you mean {near[0]}?" if near else "run das inspect on the checkpoint for the layer names",
                )
            )
    if problems:
        raise UsageError(*problems)
    return tuple(name for name in layers if name in matches)


def _range(pattern: str, layers: Sequence[str]) -> list[str]:
    match = re.fullmatch(r"([A-Za-z]+)(\d+)-(\d+)", pattern)
    if not match:
        return []
    prefix, first, last = match[1], int(match[2]), int(match[3])
    return [name for name in layers if name in {f"{prefix}{i}" for i in range(first, last + 1)}]


def summarise(names: Sequence[str]) -> str:
    """Return layer names with runs folded: ``LEn0-11, FL0-5``."""
    folded: list[tuple[str, int, int]] = []
    for name in names:
        match = re.fullmatch(r"([A-Za-z_]+)(\d+)", name)
        prefix, number = (match[1], int(match[2])) if match else (name, -1)
        if folded and number >= 0 and folded[-1][0] == prefix and folded[-1][2] == number - 1:
            folded[-1] = (prefix, folded[-1][1], number)
        else:
            folded.append((prefix, number, number))
    return ", ".join(
        prefix if first < 0 else f"{prefix}{first}" if first == last else f"{prefix}{first}-{last}"
        for prefix, first, last in folded
    )

"""Layer names, patterns of them, and the plan: which layers go and what stands in their place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from compressor.errors import Problem, UsageError
from compressor.models.layer_parts import part_of
from compressor.values import Value

PART = "(-[a-z][a-z-]*)?"  # behind the name of a layer, where it is one of a part


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


def match_layers(patterns: Sequence[str], layers: Sequence[str], parts: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the layers that the patterns name, in their order, and then the parts of layers that they name.

    A pattern is a name, a shell pattern (``FL*``) or a range (``LEn6-11``). One that names layers names no parts:
    ``FL*-feed-forward`` and ``FL2-4-feed-forward`` do.

    Raises:
        UsageError: naming every pattern that matches nothing, with the nearest layer name for each.

    """
    matches: set[str] = set()
    problems = []
    for pattern in patterns:
        hits = _hits(pattern, layers) or _hits(pattern, parts)
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
    return tuple(name for name in (*layers, *parts) if name in matches)


def _hits(pattern: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if fnmatchcase(name, pattern)] or _range(pattern, names)


def _range(pattern: str, names: Sequence[str]) -> list[str]:
    match = re.fullmatch(rf"([A-Za-z]+)(\d+)-(\d+){PART}", pattern)
    if not match:
        return []
    prefix, first, last, part = match[1], int(match[2]), int(match[3]), match[4] or ""
    return [name for name in names if name in {f"{prefix}{i}{part}" for i in range(first, last + 1)}]


def summarise(names: Sequence[str]) -> str:
    """Return names with runs folded, ``LEn0-11, FL0-5``; parts of one kind together: ``FL2-4-feed-forward``."""
    folded: list[tuple[str, int, int, str]] = []
    for name in sorted(names, key=_part):
        match = re.fullmatch(rf"([A-Za-z_]+)(\d+){PART}", name)
        prefix, number, part = (match[1], int(match[2]), match[3] or "") if match else (name, -1, "")
        if folded and number >= 0 and folded[-1][0] == prefix and folded[-1][2:] == (number - 1, part):
            folded[-1] = (prefix, folded[-1][1], number, part)
        else:
            folded.append((prefix, number, number, part))
    return ", ".join(
        prefix if first < 0 else f"{prefix}{first}{part}" if first == last else f"{prefix}{first}-{last}{part}"
        for prefix, first, last, part in folded
    )


def _part(name: str) -> str:
    return part_of(name) if re.fullmatch(rf"[A-Za-z_]+\d+{PART}", name) else ""

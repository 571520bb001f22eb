"""Tables and numbers as every report prints them, in plain text and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Row = tuple[str, ...]
HEADER = "MACs (1 MAC = 2 FLOPs)"  # over columns of MACs
PREFIXES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names, the others hold figures."""

    title: str
    header: Row
    rows: tuple[Row, ...]


def format_number(value: float) -> str:
    """Format with at least three significant digits: 1402, 31.4, 4.21."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def format_count(value: int, unit: str = "", like: int | None = None) -> str:
    """Format a count with a decimal prefix (93.23 G), that of ``like`` where figures share a column."""
    one, prefix = next((entry for entry in PREFIXES if abs(value if like is None else like) >= entry[0]), (1, ""))
    return f"{value / one:.{2 if prefix else 0}f} {prefix}{unit}".rstrip()


def format_bytes(value: int) -> str:
    """Format bytes with a decimal prefix: 1.30 GB."""
    return format_count(value, "B")


def describe_uncounted(operators: Iterable[str]) -> str:
    """Name the operators that no MACs were counted for, in one sentence."""
    return f"Not counted: {', '.join(sorted(operators))}."


def format_markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table: its first column is text, which keeps its indentation, the others are figures."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))
    return "\n".join(line.replace("|   ", "| &emsp;", 1) for line in lines)


def format_bullets(sentences: Sequence[str]) -> str:
    """Format one bullet for each sentence."""
    return "\n".join(f"- {sentence}" for sentence in sentences)

"""How long commands take to start: those that read JSON, and an answer to one text.

    python -m benchmarks.runtimes.start RUN [--before CHECKOUT] [--turns 5] [--text "..."]

Each command is a process of its own, timed from its start to its end, in turns: every turn runs every command once,
of this checkout and of an earlier one. RUN is a run of a text classifier with an ONNX export.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.results import write_section
from profiles.formatting import format_markdown_table

HERE = Path(__file__).parents[2]


def commands(run: Path, text: str) -> dict[str, list[str]]:
    """The commands by what the table calls them."""
    asked = ["predict", str(run), "--text", text]
    return {
        "--version": ["--version"],
        "--help": ["--help"],
        "pareto": ["pareto", str(run)],
        "explain": ["explain", str(run)],
        "compare": ["compare", str(run), str(run)],
        "predict, torch": asked,
        "predict, onnxruntime": [*asked, "--runtime", "onnxruntime"],
    }


def seconds_of(arguments: list[str], checkout: Path) -> float | None:
    """Seconds of one process; None where the checkout has no such command."""
    program = [sys.executable, "-P", "-c", "from das.main import run; run()", *arguments]  # not what lies here
    started = time.perf_counter()
    done = subprocess.run(program, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True)
    return None if done.returncode else time.perf_counter() - started


def measure(run: Path, text: str, checkouts: list[Path], turns: int) -> dict[str, list[list[float | None]]]:
    """Seconds of each command, for each checkout those of every turn; the first turn warms the disk's cache."""
    found: dict[str, list[list[float | None]]] = {name: [[] for _ in checkouts] for name in commands(run, text)}
    for turn in range(turns + 1):
        for name, arguments in commands(run, text).items():
            for place, checkout in enumerate(checkouts):
                took = seconds_of(arguments, checkout)
                found[name][place] += [took] if turn else []
                print(f"turn {turn}, {name}, {checkout.name}: {took}", file=sys.stderr, flush=True)
    return found


def cell(times: list[float | None]) -> str:
    """Median and range of the seconds."""
    known = [took for took in times if took is not None]
    return f"{median(known):.2f} ({min(known):.2f} to {max(known):.2f})" if known else "no such command"


def main() -> None:
    """Measure, and write the section of docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", type=Path, help="an earlier checkout, for a column beside this one's")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--text", default="the dialogue is cold , but the film is stale .")
    given = parser.parse_args()
    checkouts = [HERE, *([given.before.resolve()] if given.before else [])]
    found = measure(given.run.resolve(), given.text, checkouts, given.turns)
    header = ("das ...", "seconds", *(("seconds before",) if given.before else ()))
    rows = [(name, *map(cell, times)) for name, times in found.items()]
    body = (
        f"Seconds from the start of a process to its end: the median of {given.turns} turns, smallest and largest in "
        f"brackets.\n\n{format_markdown_table(header, rows)}"
    )
    write_section("start", "How long commands take to start", body)


if __name__ == "__main__":
    main()

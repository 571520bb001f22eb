"""How long ``das export`` takes and what memory it needs, in turns with exports of an earlier das.

    python -m benchmarks.runtimes.export_seconds --models meter --work work-deployment --old ../das-f978fae

The models and runs are those of ``benchmarks.runtimes.best_deployment``; the earlier das (``git worktree add
../das-f978fae f978fae``) makes a run of its own of the same checkpoint. Each export is a process of its own, in a copy
of its run without exports. What was measured is kept in the work folder: delete ``export-seconds.json`` there to
measure anew.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import write_section
from benchmarks.runtimes.best_deployment import make_run, once, run_das
from benchmarks.runtimes.deployed_models import MODELS, TINY, Deployed
from profiles.formatting import format_markdown_table
from profiles.timing.latency import order_of_round

HERE = Path(__file__).parents[2]
NOW = "das export"


@dataclass(frozen=True)
class Way:
    """An export: of which das, of which run, with which options."""

    checkout: Path
    run: str
    options: tuple[str, ...] = ()


def list_ways(old: Path | None) -> dict[str, Way]:
    """Return today's export and what an earlier das offers, its fastest file on CPUs first."""
    ways = {NOW: Way(HERE, "new")}
    if old:
        int8, onnx = ("--onnx", "--precision", "int8"), ("--onnx",)
        ways |= {f"earlier das, {' '.join(options)}": Way(old, "old", options) for options in (int8, onnx)}
    return ways


def export_once(way: Way, work: Path) -> dict[str, Any]:
    """Export a copy of the run; return seconds by the clock and of processors, and the peak memory in GB."""
    timed = work / f"timed-{way.run}"
    shutil.copytree(work / way.run, timed, ignore=shutil.ignore_patterns("exports"))
    try:
        found = run_das(way.checkout, work, "export", timed.name, *way.options)
        files = sorted(path.name for path in (timed / "exports").iterdir() if path.suffix in (".onnx", ".xml"))
    finally:
        shutil.rmtree(timed)
    return {name: found[name] for name in ("seconds_here", "cpu_seconds", "peak_gb")} | {"files": files}


def measure_model(model: Deployed, work: Path, old: Path | None, turns: int) -> str:
    """Return the part of the section about one model."""
    ways = list_ways(old)
    for way in ways.values():
        make_run(model, work, way.checkout, way.run)

    def measure() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for number in range(turns):
            for name in order_of_round(tuple(ways), number):
                found[name].append(export_once(ways[name], work))
        return found

    return f"### {model.title}\n\n{tabulate(once(work / 'export-seconds.json', measure))}"


def tabulate(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return a row for each way: medians over turns, each export against today's in the same turn, and its files."""
    rows = []
    for name, turns in found.items():
        ratios = [now["seconds_here"] / one["seconds_here"] for now, one in zip(found[NOW], turns, strict=True)]
        rows.append(
            (
                name,
                _spread([one["seconds_here"] for one in turns], 0),
                f"{median(one['cpu_seconds'] for one in turns):.0f}",
                f"{max(one['peak_gb'] for one in turns):.1f}",
                _spread(ratios, 2) if name != NOW else "",
                ", ".join(turns[-1]["files"]),
            )
        )
    header = ("", "seconds", "CPU seconds", "peak GB", f"{NOW} takes, of this", "files")
    return format_markdown_table(header, rows)


def _spread(values: Sequence[float], digits: int) -> str:
    """Return the median and, of several, the smallest and the largest."""
    several = f" ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{median(values):.{digits}f}{several}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-deployment"), help="folder for models, runs and times")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--old", type=Path, help="a checkout of an earlier das, whose exports are timed, too")
    parser.add_argument("--turns", type=int, default=2, help="how often each export is made")
    parser.add_argument("--tiny", action="store_true", help="a model of no size in place of all: does the script run?")
    arguments = parser.parse_args()
    models = {"tiny": TINY} if arguments.tiny else {name: MODELS[name] for name in arguments.models}
    old, work = arguments.old.resolve() if arguments.old else None, arguments.work.resolve()
    parts = [measure_model(model, work / name, old, arguments.turns) for name, model in models.items()]
    body = (
        "Random weights. `das export` as it is typed, certificates included, each time a process of its own with an "
        "empty folder of exports; in turns. CPU seconds are of it and the processes that it starts; the peak is of the "
        "largest of these.\n\n" + "\n\n".join(parts)
    )
    if arguments.tiny:
        print(body)
    else:
        write_section("export-seconds", "How long das export takes", body)


if __name__ == "__main__":
    main()

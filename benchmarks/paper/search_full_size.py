"""The search on a METER of real size, random weights: its time and memory on this machine, before and now.

    python -m benchmarks.paper.search_full_size --work work-meter-search --old ../das-before

200 generated questions (160 to fit on, 16 held out, 24 never touched by the search), 384 pixels, 40 text tokens, scope
fusion, k = 8. ``--old`` is an older checkout of das, which runs the same command first. Each command runs in a process
of its own; seconds and peak memory are the operating system's. What was measured is kept in the work folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.paper.meter_full_size import DIMS, prepare
from benchmarks.results import write_section
from benchmarks.runtimes.best_deployment import once, run_das
from profiles.formatting import format_markdown_table

HERE = Path(__file__).parents[2]
SKIP = 8


def describe_choices(searches: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the layers that are chosen for each k, and how far from the full model that brings it."""
    header = ("k", *(f"{name}: chosen" for name in searches), *(f"{name}: divergence" for name in searches))
    rows = []
    for size in sorted(map(int, next(iter(searches.values()))["chosen"])):
        chosen = [search["chosen"][str(size)] for search in searches.values()]
        far = [
            next((f"{point['divergence']:.5f}" for point in search["points"] if point["layers"] == layers), "")
            for search, layers in zip(searches.values(), chosen, strict=True)
        ]
        rows.append((str(size), *map(" ".join, chosen), *far))
    return format_markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-meter-search"), help="folder for checkpoint and data")
    parser.add_argument("--old", type=Path, help="checkout of an older das")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    prepare(work, {"train": 80, "val": 8, "test": 12})
    typed = ("search", "meter.ckpt", "--task", "vqa", "--skip", str(SKIP), "--scope", "fusion")
    checkouts = {**({"before": arguments.old.resolve()} if arguments.old else {}), "now": HERE}
    found = {
        name: once(work / f"{name}.json", lambda checkout=checkout: run_das(checkout, work, *typed))
        for name, checkout in checkouts.items()
    }
    searches = {name: run["search"] for name, run in found.items()}
    kinds = [*searches["now"]["forwards"]]
    rows = [
        (
            name,
            f"{run['seconds_here']:.0f}",
            f"{run['peak_gb']:.1f}",
            *(f"{searches[name]['forwards'][kind]:,.0f}" for kind in kinds),
            f"{sum(searches[name]['forwards'].values()):,.0f}",
        )
        for name, run in found.items()
    ]
    table = format_markdown_table(("", "seconds", "GB at most", *kinds, "all"), rows)
    body = (
        f"METER with {DIMS.text_length} text tokens at {DIMS.image_size} pixels, random weights, 200 generated "
        f"questions (160 to fit adapters on, {searches['now']['samples']} held out), scope fusion, k = {SKIP}: "
        f"`das {' '.join(typed)}`, loading and preparing included; it answers for every k from 1 to 12. The work is "
        f"counted in forward passes of the full model on one sample.\n\n{table}\n\n{describe_choices(searches)}"
    )
    write_section("search-full-size", "The search on a METER of real size", body)


if __name__ == "__main__":
    main()

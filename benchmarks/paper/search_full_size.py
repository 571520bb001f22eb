"""The search on a METER of real size, random weights: its time and memory on this machine.

    python -m benchmarks.paper.search_full_size --work work-meter-search

200 generated questions (160 to fit on, 16 held out, 24 never touched by the search), 384 pixels, 40 text tokens, scope
fusion, k = 8. Each command runs in a process of its own; seconds and peak memory are the operating system's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.paper.meter_full_size import DIMS, command, prepare
from benchmarks.results import write_section
from profiles.formatting import format_markdown_table

SKIP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-meter-search"), help="folder for checkpoint and data")
    work = parser.parse_args().work
    prepare(work, {"train": 80, "val": 8, "test": 12})
    typed = ("search", "meter.ckpt", "--task", "vqa", "--skip", str(SKIP), "--scope", "fusion", "--json")
    output, seconds, peak = command(work, *typed)
    record = json.loads(output)["search"]
    forwards = record["forwards"]
    rows = [(kind, f"{passes:,.0f}") for kind, passes in forwards.items()]
    table = format_markdown_table(
        ("forward passes of the full model on one sample", ""), [*rows, ("all", f"{sum(forwards.values()):,.0f}")]
    )
    body = (
        f"METER with {DIMS.text_length} text tokens at {DIMS.image_size} pixels, random weights, 200 generated "
        f"questions (160 to fit adapters on, {record['samples']} held out), scope fusion, k = {SKIP}. "
        f"`das {' '.join(typed)}` took **{seconds:.0f} s** and at most **{peak:.1f} GB** of memory, loading and "
        f"preparing included, and answers for "
        f"every k from 1 to 12.\n\n{table}"
    )
    write_section("search-full-size", "The search on a METER of real size", body)


if __name__ == "__main__":
    main()

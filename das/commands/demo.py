"""``das demo``: the whole story on generated data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demo is made.")] = Path("demo"),
    skip: Annotated[int, typer.Option("--skip", "-k", help="How many layers to skip.")] = 8,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train the demo's METER anew (minutes).")] = False,
    seed: o.Seed = 0,
) -> None:
    """Make a small fine-tuned METER and data, compress it, export it, profile it, and print the report.

    Example: [bold]das demo[/]

    Next, in the folder it made: [bold]das compress meter.ckpt --task vqa --skip 8[/]
    """
    from das.story import tell

    tell(folder, skip=skip, retrain=retrain, seed=seed)

"""``das demo``: every stage on generated data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="Where the demo is made. Default: demo, or demo-<family>-<task>.")
    ] = None,
    family: Annotated[str, typer.Option(help="meter, vilt, roberta or bert.")] = "meter",
    task: Annotated[str | None, typer.Option(help="Task. Default: the family's first.")] = None,
    skip: Annotated[int | None, typer.Option("--skip", "-k", help="How many layers to skip.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train METER for VQA anew (minutes).")] = False,
    seed: o.Seed = 0,
) -> None:
    """Make a small fine-tuned model and data, compress it, export it, profile it, and print the report.

    A METER for VQA comes with das; the models of other families and tasks are trained on the spot.

    Example: [bold]das demo[/], [bold]das demo --family vilt --task nlvr2[/]

    Next, in the folder it made: [bold]das compress meter.ckpt --task vqa --skip 8[/]
    """
    from das.demo.demos import find_demo
    from das.demo.walkthrough import run_demo

    chosen = find_demo(family, task)
    run_demo(chosen, folder or Path(chosen.folder), skip=skip, retrain=retrain, seed=seed)

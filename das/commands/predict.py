"""``das predict``: answer one question with what a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def predict(
    run: o.RunFolder = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image file; twice for a pair of images.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "--question", help="The question, statement, caption or sentence; twice for a pair."),
    ] = None,
    runtime: Annotated[str, typer.Option(help="torch, onnx or trt.")] = "torch",
    top: Annotated[int, typer.Option(help="How many answers to print.")] = 3,
    json: o.Json = False,
) -> None:
    """Answer for one sample, as the task has it, offline, with any runtime the run was exported to.

    vqa, snli-ve: an image and a text; nlvr2: two images and a text; text-classification: one or two texts; irtr: an
    image and a caption, whose score compares with those of other captions and images.

    Example: [bold]das predict --image scene.png --question "how many things are there?"[/]
    """
    from compressor.runs import open_run
    from das.predicting import answers
    from das.terminal import console, print_json

    found = answers(open_run(run), image or (), text or (), runtime, top)
    if json:
        print_json({"schema_version": 1, "runtime": runtime, "texts": text, "answers": found})
    else:
        for entry in found:
            value = f"{entry['probability']:6.1%}" if "probability" in entry else f"{entry['score']:+.2f}"
            console.print(f"{value}  {entry['answer']}")

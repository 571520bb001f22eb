"""``das predict``: answer one question with what a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def predict(
    run: o.RunFolder = None,
    image: Annotated[Path, typer.Option(help="An image file.")] = ...,  # type: ignore[assignment]
    question: Annotated[str, typer.Option(help="A question about it.")] = ...,  # type: ignore[assignment]
    runtime: Annotated[str, typer.Option(help="torch, onnx or trt.")] = "torch",
    top: Annotated[int, typer.Option(help="How many answers to print.")] = 3,
    json: o.Json = False,
) -> None:
    """Answer a question about an image, offline, with any runtime the run was exported to.

    Example: [bold]das predict --image scene.png --question "how many things are there?"[/]
    """
    from compressor.runs import open_run
    from das.predicting import answers
    from das.terminal import console, print_json

    found = answers(open_run(run), image, question, runtime, top)
    if json:
        print_json({"schema_version": 1, "runtime": runtime, "question": question, "answers": found})
    else:
        for entry in found:
            console.print(f"{entry['probability']:6.1%}  {entry['answer']}")

"""``das predict``: answer questions with a run folder's model."""

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
        typer.Option(
            "--text",
            "--question",
            help="The question, statement, caption or sentence; again for more on the same image, or a pair's second.",
        ),
    ] = None,
    runtime: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(o.NAMES)}.")] = "torch",
    precision: Annotated[str, typer.Option(help="Of the exported model: fp32, fp16, bf16 or int8.")] = "fp32",
    top: Annotated[int, typer.Option(help="How many answers to each question.")] = 3,
    json: o.Json = False,
) -> None:
    """Predict for one sample from the run folder, offline, with any runtime the run was exported to.

    vqa, snli-ve: an image and texts; nlvr2: two images and texts; text-classification: one or two texts; irtr: an image
    and captions, whose scores compare with those of other captions and images. Several texts are several questions on
    the same image; where the run has a split export ([bold]das export --split[/]), it is encoded once.

    Example: [bold]das predict --image scene.png --question "how many things are there?"[/]
    """
    from das.predict import answer_questions
    from das.render.print_report import print_answers
    from das.terminal import print_json

    answers = answer_questions(run, image or (), text or (), runtime, top, precision)
    print_json(answers) if json else print_answers(answers)

"""``das predict``: answer questions with a run folder's model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from das.commands import options as o
from das.commands.loading import FamilyCommand

BETWEEN = "\0"  # the texts of a pair; the one character that no argument of a command has


class PairCommand(FamilyCommand):
    """Takes two texts after each ``--pair``: Typer has no option that comes several times with two values."""

    def parse_args(self, ctx: Any, args: Iterable[str]) -> list[str]:
        """Join the two arguments after each ``--pair`` to one, then parse all."""
        waiting, joined = iter(args), []
        for word in waiting:
            joined.append(word)
            if word == "--pair":
                joined += [BETWEEN.join(pair)] if (pair := [*islice(waiting, 2)]) else []
        return super().parse_args(ctx, joined)


def predict(
    run: o.RunFolder = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="An image file; twice for a pair, again for more where images alone are asked about."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "--question", help="A question, statement, caption or sentence; again for more."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT TEXT", help="Two texts, for a run whose data has pairs; again for more."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="More of them: a text a line; or .csv, .tsv, .jsonl, .parquet with the columns of docs/data.md, "
            "which may name images. - is the standard input: texts, or JSON lines."
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"One of {', '.join(o.NAMES)}. By default what das export found to be the best here, else onnxruntime "
            "where the run has a certified export in fp32 that takes any size, else torch.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the exported model: fp32, fp16, bf16 or int8. Default with --runtime: fp32.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many answers to each question.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Questions that are answered in one call.")] = 32,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object for each question.", rich_help_panel=o.OUTPUT)
    ] = False,
) -> None:
    """Answer questions with the run's slim model, offline, in any runtime the run was exported to.

    vqa, snli-ve: an image and texts; nlvr2: two images and texts; text-classification: texts, or pairs; irtr and
    retrieval: an image and captions, whose scores compare with those of other captions and images;
    image-classification: images, each with its own answer. Each text has its own answer. Several on one image encode it
    once where the run has a split export ([bold]das export --split[/]).

    Example: [bold]das predict --image scene.png --question "how many things are there?"[/]

    Many: [bold]das predict --file texts.txt --json > answers.jsonl[/]
    """
    from das.asked import Questions
    from das.predict import answer_questions
    from das.render.print_answers import print_predictions
    from das.terminal import progress

    pairs = tuple(tuple(texts.split(BETWEEN)) for texts in pair or ())
    questions = Questions(tuple(text or ()), pairs, tuple(image or ()), file)
    shown = progress()
    answers = answer_questions(run, questions, runtime, top, precision, batch_size, shown)
    print_predictions(answers, shown, json)

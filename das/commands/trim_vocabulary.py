"""``das trim-vocabulary``: a model with the tokens that given texts can need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def trim_vocabulary(
    texts: Annotated[
        list[Path],
        typer.Option(
            metavar="PATH", help="Texts like those to come: a text a line, a table, a folder. Repeat for more."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="The folder, new or empty.")],
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|CKPT]",
            help="A run, or a checkpoint that is a Hugging Face folder or name. Default: runs/latest.",
            autocompletion=o.complete_run,
            callback=o.mention_download,
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Write the model with the tokens that texts can need and no others: a smaller Hugging Face folder.

    Every token stays that occurs in a word of the texts, and every single character, so any text can be read. The
    texts' tokens and the model's answers are compared with those of before (docs/vocabulary.md).

    Example: [bold]das trim-vocabulary xlm-r-reviews --texts reviews.txt --to xlm-r-reviews-small[/]
    """
    from das import api
    from das.render.print_saved import print_trimmed
    from das.terminal import print_json, progress

    trimmed = api.trim_vocabulary(source, texts=texts, to=to, progress=progress())
    print_json(trimmed) if json else print_trimmed(trimmed)

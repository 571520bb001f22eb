"""``das save``: a slim model as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def save(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="The folder, new or empty.")],
    run: o.RunFolder = None,
    json: o.Json = False,
) -> None:
    """Write the slim model as a Hugging Face folder: for from_pretrained, pipeline and the Hub, without das.

    A model without adapters ([bold]--recover full --replace none[/]) is one of transformers' own classes. Adapters are
    code in the folder: [bold]trust_remote_code=True[/], or [bold]import das.hub[/]. It is loaded again and compared.

    Example: [bold]das save runs/latest --to bert-sst2-slim[/]
    """
    from das import api
    from das.render.print_saved import print_saved
    from das.terminal import print_json, progress

    saved = api.save(run, to=to, progress=progress())
    print_json(saved) if json else print_saved(saved)

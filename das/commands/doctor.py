"""``das doctor``: this machine's packages and devices, and how to fix them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def doctor(
    subject: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CKPT]", help="Estimate memory and disk for this checkpoint or run.", callback=o.mention_download
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """List versions, devices and runtimes, what is missing, and the command that fixes it.

    With a checkpoint, or a run folder, memory and disk that compressing and exporting it take are estimated, too.

    Example: [bold]das doctor meter.ckpt[/]

    Next: [bold]das compress meter.ckpt --task vqa --skip 8[/]
    """
    from das.terminal import print_json, progress

    with progress().stage("Checking the environment"):  # before PyTorch is imported, which takes seconds
        from das.doctor.check import check_health
        from das.render.print_inspect import print_health

        health = check_health(subject)
    print_json(health) if json else print_health(health)

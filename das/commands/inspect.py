"""``das inspect``: a checkpoint's layers and costs."""

from __future__ import annotations

from das.commands import options as o


def inspect(checkpoint: o.Checkpoint, task: o.Task = None, json: o.Json = False) -> None:
    """Show family, heads, sizes, and every layer with its pool, parameters and MACs.

    Example: [bold]das inspect meter.ckpt[/]

    Next: [bold]das compress meter.ckpt --task vqa --skip 8[/]
    """
    from das.render.print_inspect import print_inspection
    from das.terminal import print_json, progress
    from profiles.analysis.inspection import inspect_checkpoint

    with progress().stage("Opening and counting"):
        inspection = inspect_checkpoint(checkpoint, task)
    print_json(inspection) if json else print_inspection(inspection)

"""``das search``: the layers that would be skipped; nothing is cut."""

from __future__ import annotations

import typer

from das.commands import options as o

# What the model and its adapters are made of, for the command that removes the layers.
KEPT = ("task", "data", "columns", "tokenizer", "image_size", "text_length", "replace", "skip_width")


def search(
    context: typer.Context,
    checkpoint: o.Checkpoint,
    task: o.Task = None,
    skip: o.Skip = None,
    scope: o.Scope = None,
    granularity: o.Granularity = "layer",
    strategy: o.Strategy = None,
    balanced: o.Balanced = False,
    replace: o.Replace = "adapter",
    skip_width: o.SkipWidth = None,
    data: o.Data = None,
    columns: o.Columns = None,
    holdout: o.Holdout = None,
    tokenizer: o.Tokenizer = None,
    image_size: o.ImageSize = None,
    text_length: o.TextLength = None,
    search_epochs: o.SearchEpochs = 3,
    batch_size: o.BatchSize = 64,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = 0,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Search alone: print the layers that would be skipped, for every number of them.

    Example: [bold]das search meter.ckpt --task vqa --skip 8[/]

    Next: [bold]das compress meter.ckpt --layers FL1,FV0[/] with the layers it names
    """
    from compressor.settings import make_settings
    from das import stages
    from das.render.print_report import print_search
    from das.terminal import print_json, progress

    typed = o.read_typed(context, without=("json",))
    result = stages.search(make_settings(**typed, recover="none"), progress())
    kept = {name: str(typed[name]) for name in KEPT if name in typed}
    print_json(result) if json else print_search(checkpoint, result, kept)

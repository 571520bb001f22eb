"""``das search``: which layers would go, without cutting anything."""

from __future__ import annotations

from das.commands import options as o


def search(
    checkpoint: o.Checkpoint,
    task: o.Task = None,
    skip: o.Skip = None,
    scope: o.Scope = None,
    strategy: o.Strategy = None,
    data: o.Data = None,
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
    from compressor.compression import search_only
    from compressor.errors import usage_error
    from compressor.settings import Settings
    from das.render.print_report import print_search
    from das.terminal import print_json, progress

    if skip is None:
        raise usage_error("goal-missing", "no --skip", "how many layers to skip", "--skip 8")
    settings = Settings(
        checkpoint=str(checkpoint),
        task=task,
        skip=skip,
        scope=scope,
        strategy=strategy,
        data=o.text(data),
        tokenizer=tokenizer,
        image_size=image_size,
        text_length=text_length,
        search_epochs=search_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
    )
    _, plan, found = search_only(settings, progress())
    if json:
        print_json({"schema_version": 1, "plan": plan.model_dump(), "search": found.record.model_dump()})
    else:
        print_search(checkpoint, plan, found.record)

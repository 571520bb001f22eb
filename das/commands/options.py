"""Options that several commands share: name, help and panel in one place."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from compressor.errors import usage_error
from exporters.runtimes import RUNTIMES

BUDGET, DATA, TRAINING, OUTPUT = "Budgets, in place of --skip", "Data", "Training", "Output"

# Named here, as the registries import PyTorch.
TASK_NAMES = (
    *("vqa", "nlvr2", "irtr", "snli-ve", "itm", "retrieval", "zero-shot", "text-classification", "embedding"),
    *("multi-label-classification", "regression", "reranking", "token-classification", "image-classification"),
)
STRATEGY_NAMES = ("auto", "das", "greedy", "exhaustive", "influence", "random")

METHOD_NAMES = ("full", "bitfit", "prefix", "lora", "adapter", "mam")

NAMES = tuple(runtime.name for runtime in RUNTIMES)
FILE_NAMES = tuple(runtime.name for runtime in RUNTIMES if runtime.suffix)


def mention_download(source: Any) -> Any:
    """Say at once where a model or tokenizer that is not here is looked for: a mistyped path may wait for a network."""
    from compressor.checkpoints.sources.downloads import is_downloaded, why_offline

    if source is not None and is_downloaded(source) and source != Path("runs/latest"):
        from das.terminal import progress

        offline = why_offline()
        looked = f"looking among earlier downloads, as {offline}" if offline else "asking Hugging Face for that name"
        progress().say(f"no file or folder {source} here: {looked}")
    return source


def complete_task(incomplete: str) -> list[str]:
    """Return the tasks that begin so."""
    return [task for task in TASK_NAMES if task.startswith(incomplete)]


def complete_strategy(incomplete: str) -> list[str]:
    """Return the strategies that begin so."""
    return [strategy for strategy in STRATEGY_NAMES if strategy.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    """Return the methods that begin so."""
    return [method for method in METHOD_NAMES if method.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Return the run folders here that begin so."""
    from compressor.saved_run.run_places import find_runs

    return [str(found) for found in find_runs() if str(found).startswith(incomplete)]


Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CKPT", help="A fine-tuned checkpoint: .ckpt, Hugging Face folder or name.", callback=mention_download
    ),
]
Task = Annotated[
    str | None,
    typer.Option(help="Task, e.g. vqa. Default: the checkpoint's only head.", autocompletion=complete_task),
]
Skip = Annotated[
    int | None,
    typer.Option(
        "--skip", "-k", help="How many layers to skip; das compress --adapt takes 0: adapters and head alone."
    ),
]
MergeTokens = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Merge tokens of images that are alike: saves 0.3x of what the vision layers compute.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the data (docs/data.md). Default: $DAS_DATA, ./data, the checkpoint's own.",
        rich_help_panel=DATA,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help="Columns with names of their own: text=review,label=sentiment.", rich_help_panel=DATA
    ),
]
Holdout = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="What the layers are chosen on: a file, a folder or a split that the checkpoint has not seen.",
        rich_help_panel=DATA,
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        help="Folder of inputs without answers, in place of --data; for --recover closed-form or none.",
        rich_help_panel=DATA,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="tokenizer.json, folder or Hugging Face name. Default: beside or in CKPT.",
        rich_help_panel=DATA,
        callback=mention_download,
    ),
]
TextLength = Annotated[
    int | None, typer.Option(help="Most tokens of a text. Default: the model's own.", rich_help_panel=DATA)
]
ImageSize = Annotated[int | None, typer.Option(help="Pixels; positions are resized.", rich_help_panel=DATA)]
Scope = Annotated[
    str | None,
    typer.Option(
        help="Layers the search may skip: a scope (METER: fusion, global, all; CLIP, SigLIP: all, vision, text; BLIP: "
        "all, vision, fusion), or patterns like FL*,LEn6-11."
    ),
]
Granularity = Annotated[
    str,
    typer.Option(
        help="layer, or half: attention and feed-forward each for itself, worth as many MACs as --skip layers.",
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        help="auto (the default), das (the paper's), greedy, exhaustive, influence, random: docs/search.md.",
        autocompletion=complete_strategy,
    ),
]
Balanced = Annotated[
    bool, typer.Option("--balanced", help="With --strategy random: as many layers of each pool, as FL and FV.")
]
Recover = Annotated[
    str,
    typer.Option(
        help="train (adapters), full (all weights that are left), closed-form (seconds, no labels), or none.",
        rich_help_panel=TRAINING,
    ),
]
Replace = Annotated[
    str,
    typer.Option(
        help="In place of a skipped layer: adapter, merged, or none (docs/save.md).", rich_help_panel=TRAINING
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed: same layers, same weights.", rich_help_panel=TRAINING)]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="0,1,2", help="A run for each seed, and a table of all (docs/seeds.md).", rich_help_panel=TRAINING
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.", rich_help_panel=TRAINING)
]
BatchSize = Annotated[int, typer.Option(help="Samples in a training step.", rich_help_panel=TRAINING)]
SearchEpochs = Annotated[
    float, typer.Option(help="Passes over the data while searching (--strategy das).", rich_help_panel=TRAINING)
]
RecoverEpochs = Annotated[float, typer.Option(help="Passes over the data while recovering.", rich_help_panel=TRAINING)]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Of the skip adapters; with --recover full, of all. Default: the paper's, scaled; 3e-5 at width 768.",
        rich_help_panel=TRAINING,
    ),
]
Adapt = Annotated[
    bool, typer.Option("--adapt", help="CKPT is only pre-trained: train parallel adapters and a head, too.")
]
ParallelWidth = Annotated[
    int | None,
    typer.Option(help="Bottleneck of --adapt's adapters. Default: the family's own.", rich_help_panel=TRAINING),
]
SkipWidth = Annotated[
    int | None,
    typer.Option(help="Bottleneck of the skip adapters. Default: the family's own.", rich_help_panel=TRAINING),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=OUTPUT)]
Details = Annotated[
    bool, typer.Option("--details", help="Every table of the report, not one screen.", rich_help_panel=OUTPUT)
]
RunFolder = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run folder. Default: runs/latest.", autocompletion=complete_run),
]


def _budget(help_: str, **more: Any) -> Any:
    return typer.Option(help=help_, rich_help_panel=BUDGET, **more)


MaxMacs = Annotated[str | None, _budget("MACs at most: 0.8x of the full model's, or 40G.")]
MaxParams = Annotated[str | None, _budget("Parameters at most: 0.75x, or 200M.")]
MaxLatency = Annotated[str | None, _budget("Latency of one sample at most: 0.7x, or 40ms.")]
MaxDrop = Annotated[str | None, _budget("Smallest model that loses at most N points on held-out data after recovery.")]
At = Annotated[str | None, _budget("Quantile of --max-latency: p50 (the default), p90, p99.")]
Runtime = Annotated[str | None, _budget("Where --max-latency is measured: onnxruntime (the default), openvino, torch.")]


def read_typed(context: typer.Context, without: Collection[str]) -> dict[str, Any]:
    """Return the options that were typed, by name; without defaults, and without those in ``without``."""
    sources = {name: context.get_parameter_source(name) for name in context.params if name not in without}
    return {name: context.params[name] for name, source in sources.items() if source and source.name != "DEFAULT"}


def command_line() -> str:
    """Return the command as it was typed."""
    return shlex.join(["das", *sys.argv[1:]])


def split_names(text: str | None) -> tuple[str, ...]:
    """Split ``"FL1, FV0"`` into its parts."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def merge_runtimes(names_: Sequence[str] | None, onnx: bool, trt: bool) -> list[str]:
    """Return the runtimes of ``--to`` or ``--runtime``, ``--onnx`` and ``--trt`` together."""
    return [*(names_ or ()), *(["onnxruntime"] if onnx else []), *(["tensorrt"] if trt else [])]


def read_byte_size(option: str, text: str | None) -> int | None:
    """Read ``"4GB"`` or ``"512MiB"`` as a number of bytes."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if text is None:
        return None
    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        raise usage_error("workspace-unreadable", f"{option} {text}", "a number of bytes", f"{option} 4GB") from None


def read_image_shape(text: str | None) -> int | tuple[int, int] | None:
    """Read ``"384"`` or ``"320x640"``, height first, in pixels."""
    sides = [] if text is None else text.split("x")
    if not all(side.isdigit() for side in sides) or len(sides) > 2:
        raise usage_error(
            "image-size-unreadable", f"--image-size {text}", "pixels, or HEIGHTxWIDTH", "--image-size 384"
        )
    if len(sides) == 2:
        return int(sides[0]), int(sides[1])
    return int(sides[0]) if sides else None


def read_batch_sizes(text: str) -> int | tuple[int, int, int]:
    """Read ``"1:8:32"``, smallest, usual and largest, or one number."""
    sizes = text.split(":")
    if not all(size.isdigit() for size in sizes) or len(sizes) not in (1, 3):
        raise usage_error("batch-unreadable", f"--batch {text}", "one number, or three: MIN:OPT:MAX", "--batch 1:8:32")
    return int(sizes[0]) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]), int(sizes[2]))

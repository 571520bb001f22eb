"""``das export``: the slim model as files that ONNX Runtime and TensorRT execute."""

from __future__ import annotations

from typing import Annotated

import typer

from compressor.errors import usage_error
from das.commands import options as o

SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def export(
    run: o.RunFolder = None,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME]", help=f"Runtimes: {', '.join(o.FILE_NAMES)}. Default: {o.FILE_NAMES[0]}."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="The same as --to onnxruntime.")] = False,
    trt: Annotated[bool, typer.Option("--trt", help="The same as --to tensorrt; the ONNX file is made, too.")] = False,
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8.")] = "fp32",
    split: Annotated[bool, typer.Option("--split", help="The vision tower apart, for many questions on an image.")] = (
        False
    ),
    batch: Annotated[
        str, typer.Option(help="Batches that an engine takes, MIN:OPT:MAX; one number fixes it in the graph.")
    ] = "1:8:32",
    text_length: Annotated[
        int | None, typer.Option(help="Tokens; fixed in the graph. Default: any up to the model's own.")
    ] = None,
    attention: Annotated[
        str, typer.Option(help="composed, operator (opset 23 on) or fused (ONNX Runtime only).")
    ] = "composed",
    opset: Annotated[int | None, typer.Option(help="ONNX operators. Default: the exporter's choice.")] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Memory a TensorRT layer may use while it runs, e.g. 4GB.")
    ] = None,
    data: o.Data = None,
    json: o.Json = False,
) -> None:
    """Export the slim model, run what was exported, and compare it with PyTorch before calling it done.

    The comparison is a certificate on 200 samples of the run's data. Then the run's ONNX exports are timed against
    PyTorch, and the fastest is recommended.

    Example: [bold]das export runs/latest --onnx --precision int8[/]

    Next: [bold]das profile[/]
    """
    import das
    from compressor.run_folder import open_run
    from das.render.print_export import print_export
    from das.terminal import print_json, progress
    from exporters.graph.inputs import Fixed
    from profiles.comparison.recommend_export import compare_exports

    formats = o.formats(to, onnx, trt) or o.FILE_NAMES[:1]
    sizes = _batch(batch)
    report = das.export(
        run,
        *formats,
        precision=precision,
        split=split,
        fixed=Fixed(sizes[0] if len(sizes) == 1 else None, text_length),
        batch=sizes if len(sizes) == 3 else (1, 8, 32),
        attention=attention,
        opset=opset,
        workspace=_bytes(workspace),
        data=o.text(data),
        progress=progress(),
    )
    choices = compare_exports(open_run(run), progress())
    if json:
        print_json({**report.model_dump(mode="json"), "choices": choices.model_dump(mode="json") if choices else None})
    else:
        print_export(report, choices)


def _batch(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(":"))
    except ValueError:
        sizes = ()
    if len(sizes) not in (1, 3):
        raise usage_error("batch-unreadable", f"--batch {text}", "one number, or three: MIN:OPT:MAX", "--batch 1:8:32")
    return sizes


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    number = text.upper().removesuffix("B").rstrip("KMG")
    unit = text.upper().removesuffix("B")[len(number) :]
    if not number.isdigit() or unit not in SUFFIXES:
        raise usage_error("workspace-unreadable", f"--workspace {text}", "a number of bytes", "--workspace 4GB")
    return int(number) * SUFFIXES[unit]

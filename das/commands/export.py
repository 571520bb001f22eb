"""``das export``: the slim model as files that ONNX Runtime and TensorRT execute."""

from __future__ import annotations

from typing import Annotated

import typer

from compressor.errors import usage_error
from das.commands import options as o


def export(
    run: o.RunFolder = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="For ONNX Runtime. The default.")] = False,
    trt: Annotated[bool, typer.Option("--trt", help="A TensorRT engine; the ONNX file is made on the way.")] = False,
    precision: Annotated[str, typer.Option(help="fp32.")] = "fp32",
    opset: Annotated[int | None, typer.Option(help="ONNX operators. Default: the exporter's choice.")] = None,
    batch: Annotated[str, typer.Option(help="Batches that an engine takes, MIN:OPT:MAX.")] = "1:8:32",
    json: o.Json = False,
) -> None:
    """Export the slim model, run what was exported, and compare it with PyTorch before calling it done.

    Example: [bold]das export runs/latest --onnx --trt[/]

    Next: [bold]das profile[/]
    """
    import das
    from das.render_export import print_export
    from das.terminal import print_json, progress

    formats = [name for name, wanted in (("onnx", onnx or not trt), ("trt", trt)) if wanted]
    sizes = _batch(batch)
    report = das.export(run, *formats, precision=precision, opset=opset, batch=sizes, progress=progress())
    print_json(report) if json else print_export(report)


def _batch(text: str) -> tuple[int, int, int]:
    try:
        smallest, usual, largest = (int(part) for part in text.split(":"))
    except ValueError:
        raise usage_error(f"--batch {text}", "three numbers, MIN:OPT:MAX", "--batch 1:8:32") from None
    return smallest, usual, largest

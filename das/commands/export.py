"""``das export``: the slim model as files that ONNX Runtime and TensorRT execute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from compressor.errors import usage_error
from das.commands import options as o

if TYPE_CHECKING:
    from exporters.export import ExportReport


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
    from compressor.runs import open_run
    from das.terminal import print_json, progress
    from exporters.export import export as export_model
    from profiles.report import save_report

    sizes, found = _batch(batch), open_run(run)
    report = export_model(
        found.load_slim(),
        found.samples(),
        found.path / "exports",
        [name for name, wanted in (("onnx", onnx or not trt), ("trt", trt)) if wanted],
        precision=precision,
        opset=opset,
        batch=sizes,
        progress=progress(),
    )
    save_report(found)
    print_json(report) if json else _print(report)


def _batch(text: str) -> tuple[int, int, int]:
    try:
        smallest, usual, largest = (int(part) for part in text.split(":"))
    except ValueError:
        raise usage_error(f"--batch {text}", "three numbers, MIN:OPT:MAX", "--batch 1:8:32") from None
    return smallest, usual, largest


def _print(report: ExportReport) -> None:
    """A line for each export: what it is, and how far it is from PyTorch."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    from das.terminal import console

    table = Table(box=rich.box.SIMPLE_HEAD)
    for header in ("file", "MB", "opset", "seconds", "parity", "largest error"):
        table.add_column(header, justify="left" if header in ("file", "parity") else "right", no_wrap=True)
    for entry in report.exports:
        error = entry.parity.max_abs_error
        table.add_row(
            entry.files[0],
            f"{entry.bytes / 1e6:.1f}",
            str(entry.opset),
            f"{entry.seconds:.0f}",
            entry.parity.status,
            "-" if error is None else f"{error:.1e}",
        )
    console.print(f"exported to {report.folder}", soft_wrap=True)
    console.print(table)
    for entry in report.exports:
        reason = (f"{entry.parity.status}: {entry.parity.reason}",) if entry.parity.reason else ()
        for note in (*reason, *entry.notes):
            console.print(Text(f"{entry.files[0]}: {note}"))

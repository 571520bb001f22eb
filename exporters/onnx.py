"""A step model to one ONNX graph, with dynamic batch, text length and, where images have any, image size."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from compressor.errors import input_error, usage_error
from compressor.families import FAMILIES
from compressor.steps import StepModel
from exporters.inputs import TEXT_INPUTS, any_size
from exporters.staging import bytes_of, staged

OUTPUT = "logits"
# One ONNX file holds 2 GiB at most, and writing it needs that much memory again; above half of it weights go beside it.
ONE_FILE_BYTES = 2**30
TRACED_ROWS = 2  # an axis traced at 1 would be fixed at 1


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX file: its opset as read back from it, the bytes of all its files, and the seconds it took."""

    path: Path
    opset: int
    bytes: int
    seconds: float


def export_onnx(model: StepModel, path: Path, samples: Mapping[str, Tensor], opset: int | None = None) -> OnnxExport:
    """Trace ``model`` and write ``path``; weights above 1 GiB go to ``<path>.data`` beside it.

    Args:
        model: put in eval mode; traced on the device it is on.
        path: the ``.onnx`` file; it and its data appear when they are complete.
        samples: at least one row of each of the family's inputs, by name: (N, ...).
        opset: version of the ONNX operators; None leaves the choice to the exporter.

    Raises:
        InputError: an input of the family is missing from ``samples``.
        UsageError: the exporter cannot write ``opset``.
        EnvironmentProblem: the file cannot be written.
    """
    import onnx

    check_opset(opset)
    names = FAMILIES[model.family].inputs
    started = time.perf_counter()
    with staged(path) as temporary:
        with _silence():
            program = _trace(model, names, _rows(samples, names), opset)
            program.save(temporary, external_data=needs_data_file(weight_bytes(model)))
        written = opset_of(temporary)
        if opset not in (None, written):
            raise _wrong_opset(opset, f"the exporter wrote opset {written} instead")
        onnx.checker.check_model(str(temporary))
    return OnnxExport(path, written, bytes_of(path), time.perf_counter() - started)


def export_part(module: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> None:
    """Trace ``module``, called with ``inputs`` by name, at their sizes alone, and write ``path``: a graph to time.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    with staged(path) as temporary, _silence():
        program = torch.onnx.export(
            _Positional(module, tuple(inputs)).eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(temporary, external_data=needs_data_file(weight_bytes(module)))


def check_opset(opset: int | None) -> None:
    """Refuse an opset that the installed ONNX does not know, before anything is traced.

    Raises:
        UsageError: there is no such opset.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not 1 <= opset <= newest:
        raise _wrong_opset(opset, f"onnx {onnx.__version__} knows 1 to {newest}")


def opset_of(path: Path) -> int:
    """Version of the standard operators an ONNX file declares."""
    import onnx

    declared = onnx.load(path, load_external_data=False).opset_import
    return next(entry.version for entry in declared if entry.domain in ("", "ai.onnx"))


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def needs_data_file(size: int) -> bool:
    """Whether weights of ``size`` bytes are kept outside the ``.onnx`` file."""
    return size > ONE_FILE_BYTES


def _wrong_opset(opset: int | None, found: str) -> Exception:
    return usage_error(
        f"opset {opset} was asked for; {found}", "an opset that can be written (18 to 25 usually)", "leave --opset out"
    )


def _rows(samples: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[Tensor, ...]:
    missing = [name for name in names if name not in samples]
    if missing:
        raise input_error(
            f"the samples lack {', '.join(missing)} (they have {', '.join(samples)})",
            f"the model's inputs: {', '.join(names)}",
            "give one row of each",
        )
    return tuple(samples[name][torch.arange(TRACED_ROWS) % len(samples[name])] for name in names)


def _trace(model: StepModel, names: tuple[str, ...], rows: tuple[Tensor, ...], opset: int | None) -> Any:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    sides = {-2: "rows", -1: "columns"} if any_size(model) else {}
    patches = {axis: model.dims.patch * torch.export.Dim(name) for axis, name in sides.items()}

    def axes_of(name: str, row: Tensor) -> dict[int, Any]:
        if name in TEXT_INPUTS:
            return {0: batch, 1: length}
        return {0: batch} | {row.ndim + axis: size for axis, size in patches.items()}

    axes = tuple(axes_of(name, row) for name, row in zip(names, rows, strict=True))
    device = next(model.parameters()).device
    return torch.onnx.export(
        _Positional(model, names).eval(),
        tuple(row.to(device) for row in rows),
        input_names=list(names),
        output_names=[OUTPUT],
        dynamic_shapes=(axes,),
        opset_version=opset,
        dynamo=True,
        verbose=False,
    )


class _Positional(nn.Module):
    """The exporter names inputs by position; step models take them by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        with _FullMasks():
            return self.model(**dict(zip(self.names, inputs, strict=True)))


class _FullMasks(TorchFunctionMode):
    """Spells attention masks out over the queries: ONNX Runtime's Attention (opset 23 on) does not broadcast them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        mask = kwargs.get("attn_mask")
        if func is F.scaled_dot_product_attention and mask is not None:
            kwargs = {**kwargs, "attn_mask": mask.expand(-1, -1, args[0].shape[-2], -1)}
        return func(*args, **kwargs)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's remarks on its own inner workings from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

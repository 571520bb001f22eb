"""A step model to one ONNX graph, with dynamic batch, text length and, where images have any, image size.

Batch and text length can be fixed instead; a graph that takes one size only has no shape arithmetic for it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.costs.parts import weight_bytes
from compressor.errors import CheckFailed, DasError, Problem, input_error, usage_error
from compressor.families import FAMILIES
from compressor.families.family import Family
from compressor.files import staged
from compressor.models.steps import StepModel
from exporters.graph.attention import FORMS, AttentionForm, Numerics
from exporters.graph.inputs import VARYING, Fixed, any_size, with_text_length
from exporters.graph.precision import PRECISIONS, Precision, in_precision

# One ONNX file holds 2 GiB at most, and writing it needs that much memory again; above half of it weights go beside it.
ONE_FILE_BYTES = 2**30
TRACED_ROWS = 2  # an axis traced at 1 would be fixed at 1


def export_onnx(
    model: StepModel,
    path: Path,
    samples: Mapping[str, Tensor],
    opset: int | None = None,
    *,
    form: AttentionForm = FORMS["composed"],
    precision: Precision = PRECISIONS["fp32"],
    fixed: Fixed = VARYING,
    apart: bool = False,
) -> None:
    """Trace ``model`` and write ``path``; weights above 1 GiB go to ``<path>.data`` beside it.

    Args:
        model: put in eval mode; traced on the device it is on.
        path: the ``.onnx`` file; it and its data appear when they are complete.
        samples: at least one row of each of the family's inputs, by name: (N, ...).
        opset: version of the ONNX operators; None leaves the choice to the exporter.
        form: how attention is written.
        precision: of weights and activations; pixels and logits are float32 in every graph. Nothing is quantised here.
        fixed: axes that take one size only.
        apart: weights go beside the file whatever their size, until :func:`join_weights`: others are made from it.

    Raises:
        CheckFailed: the model takes one size only along an axis that is to vary.
        InputError: an input of the family is missing from ``samples``.
        UsageError: the exporter cannot write ``opset``, or the form needs a newer one.
        EnvironmentProblem: the file cannot be written.
    """
    import onnx

    check_opset(opset, form, precision)
    family = FAMILIES[model.family]
    outputs = [output.name for output in family.outputs_of(model.task)]
    rows = _rows(family, samples, fixed)
    needed = max(form.opset or 0, precision.opset or 0) or None
    with staged(path) as temporary:
        traced = in_precision(model, precision.dtype)
        axes = _axes(model, rows, fixed)
        program = trace(traced, rows, outputs, axes, opset=opset or needed, form=form, dtype=precision.dtype)
        save(program, traced, temporary, apart)
        _check_axes(temporary, axes)
        written = opset_of(temporary)
        if opset not in (None, written):
            raise _wrong_opset(opset, f"the exporter wrote opset {written} instead")
        onnx.checker.check_model(str(temporary))


def export_part(module: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> None:
    """Trace ``module``, called with ``inputs`` by name, at their sizes alone, and write ``path``: a graph to time.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    with staged(path) as temporary:
        save(trace(module, inputs, ("output",), None), module, temporary)


def save(program: Any, module: nn.Module, path: Path, apart: bool = False) -> None:
    """Write the program that :func:`trace` made of ``module``, its weights beside it where they are large."""
    _straighten(program)
    with silence():
        program.save(path, external_data=apart or needs_data_file(weight_bytes(module)))
    _say_shapes_once(path)


def _straighten(program: Any) -> None:
    """Let weights that lie transposed in memory be copied as they are written: NumPy would write number by number."""
    import numpy as np
    from onnxscript import ir

    def copy(array: Any) -> Any:
        return ir.tensor(np.ascontiguousarray(array))

    for value in program.model.graph.initializers.values():
        held = value.const_value
        if isinstance(held.raw, np.ndarray) and not held.raw.flags.c_contiguous:
            value.const_value = ir.LazyTensor(partial(copy, held.raw), held.dtype, held.shape, name=held.name)


def join_weights(path: Path) -> None:
    """Put the weights that lie beside an ONNX file into it, where one file can hold them; of other files do nothing."""
    import onnx

    beside = path.with_name(f"{path.name}.data")
    if path.suffix == ".onnx" and beside.exists() and not needs_data_file(beside.stat().st_size):
        onnx.save_model(load_graph(path, weights=True), path)
        beside.unlink()


def _say_shapes_once(path: Path) -> None:
    """Take the weights out of ``value_info``, which says the shapes of values that have none of their own.

    Whoever transposes a weight, as ONNX Runtime's ``quantize_dynamic`` does, leaves that second shape behind, and shape
    inference then refuses the graph.
    """
    model = load_graph(path)
    weights = {weight.name for weight in model.graph.initializer}
    values = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)
    path.write_bytes(model.SerializeToString())


def check_opset(
    opset: int | None, form: AttentionForm = FORMS["composed"], precision: Precision = PRECISIONS["fp32"]
) -> None:
    """Refuse an opset that the installed ONNX does not know, or that lacks an operator, before anything is traced.

    Raises:
        UsageError: there is no such opset, or it is too old for the form of attention or the precision.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not 1 <= opset <= newest:
        raise _wrong_opset(opset, f"onnx {onnx.__version__} knows 1 to {newest}")
    for user, needed in ((f"the {form.name} form of attention", form.opset), (precision.name, precision.opset)):
        if opset and needed and opset < needed:
            raise _wrong_opset(opset, f"{user} needs opset {needed}")


def load_graph(path: Path, weights: bool = False) -> Any:
    """Return an ONNX file; with its weights, or without those that lie beside it.

    Raises:
        InputError: it cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path, load_external_data=weights)
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        raise input_error(
            "export-unreadable",
            f"{path} cannot be read ({error})",
            "an exported ONNX file, its data beside it",
            "das export --onnx again",
        ) from None


def opset_of(path: Path) -> int:
    """Return the version of the standard operators an ONNX file declares."""
    declared = load_graph(path).opset_import
    return next(entry.version for entry in declared if entry.domain in ("", "ai.onnx"))


def needs_data_file(size: int) -> bool:
    """Return whether weights of ``size`` bytes are kept outside the ``.onnx`` file."""
    return size > ONE_FILE_BYTES


def _wrong_opset(opset: int | None, found: str) -> Exception:
    return usage_error(
        "opset-not-written",
        f"opset {opset} was asked for; {found}",
        "an opset that can be written (18 to 25 usually)",
        "leave --opset out",
    )


def _rows(family: Family, samples: Mapping[str, Tensor], fixed: Fixed) -> dict[str, Tensor]:
    names = family.input_names
    missing = [name for name in names if name not in samples]
    if missing:
        raise input_error(
            "input-missing",
            f"the samples lack {', '.join(missing)} (they have {', '.join(samples)})",
            f"the model's inputs: {', '.join(names)}",
            "give one row of each",
        )
    fitting = with_text_length(family, samples, fixed.text_length)
    return {name: fitting[name][torch.arange(fixed.batch or TRACED_ROWS) % len(fitting[name])] for name in names}


def _axes(model: StepModel, rows: Mapping[str, Tensor], fixed: Fixed) -> dict[str, dict[int, Any]]:
    """Return the axes of each input that vary, by their numbers."""
    varying: dict[str, Any] = {}
    if not fixed.batch:
        varying["batch"] = torch.export.Dim("batch")
    if not fixed.text_length and FAMILIES[model.family].masks_texts:
        varying["length"] = torch.export.Dim("length")
    if any_size(model):
        patches = {"height": torch.export.Dim("rows"), "width": torch.export.Dim("columns")}
        varying |= {axis: model.dims.patch * count for axis, count in patches.items()}
    return {
        entry.name: {
            number: varying[axis] for number, axis in enumerate(entry.axes_of(rows[entry.name].ndim)) if axis in varying
        }
        for entry in FAMILIES[model.family].inputs
    }


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, Any]] | None,
    *,
    opset: int | None = None,
    form: AttentionForm = FORMS["composed"],
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Return an ONNX program of ``module``, called with ``inputs`` by name.

    Args:
        module: in eval mode; traced on the device it is on.
        inputs: (B, ...) by name; floating point ones are float32 in the graph, too, and cast to ``dtype`` in it.
        outputs: a name for each of its outputs, which are float32.
        axes: which axes of each input vary; None fixes all.
        opset: None leaves the choice to the exporter.
        form: how attention is written.
        dtype: that the module computes in.

    Raises:
        UsageError: the module computes attention of a kind that no graph carries.
    """
    device = next(module.parameters()).device
    traced = _TracedModel(module, tuple(inputs), form, dtype).eval()
    with silence(), _own_errors():
        program = torch.onnx.export(
            traced,
            tuple(value.to(device) for value in inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=None if axes is None else (tuple(axes[name] for name in inputs),),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program


def _check_axes(path: Path, axes: Mapping[str, Mapping[int, Any]]) -> None:
    """Refuse a graph that takes one size only along an axis that was to vary, before a runtime does at another size.

    Raises:
        CheckFailed: names the input, the axis and the size.
    """
    for entry in load_graph(path).graph.input:
        for number in axes[entry.name]:
            if size := entry.type.tensor_type.shape.dim[number].dim_value:
                raise CheckFailed(
                    Problem(
                        "axis-fixed",
                        f"the traced model takes {entry.name} of size {size} along axis {number}, and no other",
                        "an axis that varies: some module of the model has read this size as a number",
                        "in the modules of the family write x.shape[0] for len(x), and int() or .item() of no size"
                        " (docs/add-a-family.md)",
                    )
                )


class _TracedModel(nn.Module):
    """The model that is traced: the exporter names inputs by position, step models take them by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], form: AttentionForm, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.names, self.form, self.dtype = model, names, form, dtype

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        cast = (x.to(self.dtype) if x.is_floating_point() else x for x in inputs)
        with Numerics(self.form):
            outputs = self.model(**dict(zip(self.names, cast, strict=True)))
        return tuple(x.float() for x in outputs) if isinstance(outputs, tuple) else outputs.float()


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise what the exporter wraps of das's own errors as it was."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        if isinstance(error.__cause__, DasError):
            raise error.__cause__ from None
        raise


@contextmanager
def silence() -> Iterator[None]:
    """Silence the warnings of torch.onnx."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""OpenVINO's own files, made from an ONNX file: as they are, with halved weights, or rounded to int8.

Every operation is named after the module that it comes from, ``blocks.En0.attention.query/node_MatMul_45``: so layers
can be left in float, and times of operations lead back to layers.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from torch import Tensor

from compressor.errors import CheckFailed, Problem, one_line
from compressor.models.steps import StepModel
from exporters.graph.inputs import Fixed, batches_of, without_padding
from exporters.graph.onnx import load_graph
from exporters.graph.scopes import PART, module_name, scopes_of
from exporters.runtimes.openvino.nncf_rounding import quantise
from exporters.runtimes.openvino.openvino_runner import COMPUTES_IN, import_nncf, import_openvino

SAMPLES = 32  # that ranges are taken from: of 8 or 16, scores of a METER lose a point (docs/exports.md)
WITHOUT_TIME = ("Constant", "Parameter", "Result")


def write_float(source: Path, target: Path, computes_in: str, halved: bool) -> None:
    """Write an ONNX file as OpenVINO's, its weights in fp16 where they are to be ``halved``.

    Args:
        source: in float32, its data beside it.
        target: an ``.xml`` file; its weights lie beside it as ``.bin``.
        computes_in: what OpenVINO is to compute it in, "f32" or "bf16".
        halved: whether weights are stored in fp16; those out of its range stay as they are.
    """
    _save(read_graph(source), target, computes_in, halved)


def write_int8(
    source: Path, target: Path, batches: Sequence[Mapping[str, Tensor]], in_float: Collection[str] = ()
) -> None:
    """Write an ONNX file rounded to int8 for OpenVINO: products, embeddings, and attention's own products.

    Args:
        source: in float32, its data beside it.
        target: as in :func:`write_float`.
        batches: real inputs by name, from which the ranges of activations are taken.
        in_float: names of the model's modules that stay float.

    Raises:
        CheckFailed: NNCF cannot round this model.
        EnvironmentProblem: NNCF is missing.
    """
    import_nncf()
    model = read_graph(source)
    operations = [op for op in model.get_ordered_ops() if op.get_type_name() not in WITHOUT_TIME]
    names = [op.get_friendly_name() for op in operations]
    left = [name for name in names if name.partition("/")[0] in in_float] + _lookups_of_one_row(operations)
    arrays = [{name: value.numpy() for name, value in batch.items()} for batch in batches]
    try:
        with _quiet():
            rounded = quantise(model, arrays, left)
    except Exception as error:  # NNCF's exceptions share no base class
        raise CheckFailed(
            Problem(
                "rounding-failed",
                f"NNCF cannot round the model to int8 ({one_line(error)})",
                "a model that NNCF rounds",
                "--precision fp32, or --to onnxruntime --precision int8",
            )
        ) from error
    _save(rounded, target, "f32", halved=False)


def calibration_batches(model: StepModel, samples: Mapping[str, Tensor], fixed: Fixed) -> list[dict[str, Tensor]]:
    """Return the first samples as a file takes them, without padding that it can do without: in its batches, or singly.

    Args:
        model: that the file is made from.
        samples: (N, ...) by name.
        fixed: axes that the file takes one size of; the last batch is filled up from the first samples.
    """
    few = {name: rows[:SAMPLES] for name, rows in samples.items()}
    return [without_padding(model, batch, fixed) for batch in batches_of(few, fixed.batch or 1)]


def read_graph(path: Path) -> Any:
    """Return an ONNX file as a model of OpenVINO whose operations have the names of their modules in front.

    What OpenVINO takes apart keeps no note of its module; where it belongs its neighbours say.
    """
    model = import_openvino().Core().read_model(path)
    modules: dict[str, str] = {}
    for node in load_graph(path).graph.node:
        if scopes := scopes_of(node)[:-1]:  # what writes an output of the graph is named after that
            modules |= dict.fromkeys((node.name, *node.output), module_name(scopes[-1]))
    operations = [op for op in model.get_ordered_ops() if op.get_type_name() not in WITHOUT_TIME]
    found = {name: modules[name] for op in operations if modules.get(name := op.get_friendly_name())}
    find_places(operations, found)
    for op in operations:
        name = op.get_friendly_name()
        if name in found:
            op.set_friendly_name(f"{found[name]}/{name}")
    return model


def find_places(operations: Sequence[Any], found: dict[str, str]) -> None:
    """Add to the modules ``found`` of operations, by name, those of the others, which stand in the order they run in.

    An operation without one belongs to the only module that reads it, or else to the only part; if there is none, to
    that which it reads from.
    """
    for op in reversed(operations):
        readers = [port.get_node() for output in op.outputs() for port in output.get_target_inputs()]
        _belong(op, readers, found)
    for op in operations:
        _belong(op, [value.get_node() for value in op.input_values()], found)


def part_of_operation(name: str) -> str | None:
    """Return the part of the step model that an operation, or a module, is of by its name: ``blocks.FL0``."""
    part = PART.match(name)
    return part[0] if part else None


def _lookups_of_one_row(operations: Iterable[Any]) -> list[str]:
    """Return the look-ups of tables with one row (token types of RoBERTa): files with these in int8 do not compile."""
    lookups = [op for op in operations if op.get_type_name() == "Gather"]
    tables = {op.get_friendly_name(): op.input_value(0).get_node() for op in lookups}
    return [
        name
        for name, table in tables.items()
        if table.get_type_name() == "Constant" and list(table.get_output_shape(0))[:1] == [1]
    ]


def _belong(op: Any, others: Iterable[Any], found: dict[str, str]) -> None:
    """Note where an operation without a note belongs: to the only module of the others, or else to their only part."""
    name = op.get_friendly_name()
    modules = {found[other.get_friendly_name()] for other in others if other.get_friendly_name() in found}
    parts = {part_of_operation(module) for module in modules}
    only = next((one.pop() for one in (modules, parts) if len(one) == 1), None)
    if name not in found and only:
        found[name] = only


def _save(model: Any, target: Path, computes_in: str, halved: bool) -> None:
    model.set_rt_info(computes_in, COMPUTES_IN)
    import_openvino().save_model(model, target, compress_to_fp16=halved)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's remarks and progress bars from the screen."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)

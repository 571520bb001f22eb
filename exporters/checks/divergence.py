"""Locate where the error of an ONNX file starts: its modules' values beside PyTorch's, in the order they are computed.

The exporter notes in every node which module it comes from. What a module hands on is the last value computed in it
that something outside reads; names of values survive quantisation and half precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import one_line
from compressor.models.steps import StepModel
from compressor.progress import Progress
from compressor.values import Value
from exporters.graph.onnx import load_graph
from exporters.graph.scopes import module_name, modules_of
from exporters.runtimes.sessions import open_session


class Divergence(Value):
    """The first module whose output is off.

    Attributes:
        module: its name in the PyTorch model.
        node, operator: name and type of the ONNX node that computes its output.
        error: largest absolute difference from PyTorch's output, over the largest absolute value of that.
        tolerance: what the error may be.
    """

    module: str
    node: str
    operator: str
    error: float
    tolerance: float

    @property
    def text(self) -> str:
        """One sentence."""
        return (
            f"the error starts in {self.module}, at node {self.node} ({self.operator}): off by {self.error:.1e} of its "
            f"largest value, more than {self.tolerance:.0e}, while nothing it reads is"
        )


class Located(Value):
    """A divergence, or the reason why there is none to name."""

    divergence: Divergence | None
    reason: str = ""

    @property
    def text(self) -> str:
        """One sentence."""
        return self.divergence.text if self.divergence else f"where the error starts is not known: {self.reason}"


Locate = Callable[[StepModel, Path, Mapping[str, Tensor], float], Located]
"""Model, ONNX file, one small batch and tolerance to where the file's error starts."""


@torch.inference_mode()
def locate(model: StepModel, onnx_path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
    """Find the first module of ``model`` that ``onnx_path`` computes differently.

    Prologue, steps and epilogue are compared first, then the modules inside the first step that is off. A module whose
    output is no single tensor, or has another shape in the file, is passed over.

    Args:
        model: what was traced, in eval mode.
        onnx_path: run in ONNX Runtime on the CPU.
        inputs: one small batch of the model's inputs by name, (B, ...).
        tolerance: largest error of a module's output relative to its largest absolute value.
    """
    graph = load_graph(onnx_path)
    outputs = _module_outputs(graph)
    if not outputs:
        return Located(divergence=None, reason=f"the nodes of {onnx_path.name} do not name their modules")
    names = [name for name, _ in model.named_modules() if name in outputs]
    steps = [name for name in names if not name.startswith("blocks.") or name.count(".") == 1]
    try:
        found = _first_off(model, graph, onnx_path, {name: outputs[name] for name in steps}, inputs, tolerance)
        if found and found.module.startswith("blocks."):
            inside = [name for name in names if f"{name}.".startswith(f"{found.module}.")]
            found = _first_off(model, graph, onnx_path, {name: outputs[name] for name in inside}, inputs, tolerance)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        return Located(divergence=None, reason=f"ONNX Runtime: {one_line(error)}")
    within = f"all {len(steps)} modules compared are within {tolerance:.0e}"
    reason = "" if found else f"with their outputs kept, in ONNX Runtime on the CPU, {within}"
    return Located(divergence=found, reason=reason)


def starts_at(
    model: StepModel,
    path: Path,
    samples: Mapping[str, Tensor],
    rows: int,
    tolerance: float,
    progress: Progress,
    find: Locate = locate,
) -> str:
    """Say where the error of the export ``path`` starts, in one sentence.

    Args:
        model: what was traced, in eval mode.
        path: an export that failed.
        samples: real inputs, (N, ...) by name; the first ``rows`` are run, from the first again when they run out.
        rows: the batch the export takes.
        tolerance: as in :func:`locate`.
        progress: told about it.
        find: :func:`locate`, or what does the same for an export of several files.
    """
    with progress.stage("looking for where the error starts"):
        inputs = {name: x[torch.arange(rows) % len(x)] for name, x in samples.items()}
        return find(model, path, inputs, tolerance).text


def _module_outputs(graph: Any) -> dict[str, Any]:
    """Return the node that computes each module's output, by the module's name; empty where no node names one."""
    nodes = graph.graph.node
    noted = [modules_of(node) for node in nodes]
    if not any(noted):
        return {}
    # Equal weights of several modules are stored once, under the name of one of them.
    uses = Counter(name for node in nodes for name in node.input)
    weights = {weight.name for weight in graph.graph.initializer if uses[weight.name] == 1}
    modules = [names or _by_weights(node, weights) for names, node in zip(noted, nodes, strict=True)]
    readers: dict[str, list[frozenset[str]]] = {value.name: [frozenset()] for value in graph.graph.output}
    for node, names in zip(nodes, modules, strict=True):
        for value in node.input:
            readers.setdefault(value, []).append(names)
    return {
        name: node
        for node, names in zip(nodes, modules, strict=True)
        for name in names
        if any(name not in reader for reader in readers.get(node.output[0], ()))
    }


def _by_weights(node: Any, weights: Collection[str]) -> frozenset[str]:
    """Return the same, read from the names of the weights: quantised nodes come without notes."""
    paths = [module_name(name).split(".")[:-1] for name in node.input if name in weights and module_name(name)]
    return frozenset(".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1))


def _first_off(
    model: StepModel,
    graph: Any,
    onnx_path: Path,
    outputs: Mapping[str, Any],
    inputs: Mapping[str, Tensor],
    tolerance: float,
) -> Divergence | None:
    """Return the first module of ``outputs``, in the order PyTorch finishes them, that is off."""
    ours = _torch_values(model, outputs, inputs)
    theirs = _onnx_values(graph, onnx_path, dict.fromkeys(outputs[name].output[0] for name in ours), inputs)
    for name, reference in ours.items():
        node, value = outputs[name], theirs[outputs[name].output[0]]
        if value.shape != reference.shape:
            continue
        scale = float(reference.abs().max()) or 1.0
        error = float((value - reference).abs().max()) / scale
        if not error <= tolerance:  # not a number is off, too
            return Divergence(module=name, node=node.name, operator=node.op_type, error=error, tolerance=tolerance)
    return None


def _torch_values(model: StepModel, names: Collection[str], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of the modules ``names``, float32 on the CPU, in the order they finish."""
    found: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, Tensor):
                found.pop(name, None)
                found[name] = value.float().cpu()

        return keep

    hooks = [model.get_submodule(name).register_forward_hook(keeping(name)) for name in names]
    device = next(model.parameters()).device
    try:
        model(**{name: value.to(device) for name, value in inputs.items()})
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _onnx_values(
    graph: Any, onnx_path: Path, names: Collection[str], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the values ``names`` of the graph, float32, from one call of ONNX Runtime."""
    from onnx import TensorProto, helper

    probed = type(graph)()
    probed.CopyFrom(graph)
    kept = {name: f"kept.{name}" for name in names}
    for name, output in kept.items():
        probed.graph.node.append(helper.make_node("Cast", [name], [output], to=TensorProto.FLOAT))
        probed.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    session = open_session(probed.SerializeToString(), weights_in=onnx_path.parent)
    feeds = {value.name: inputs[value.name].contiguous().cpu().numpy() for value in session.get_inputs()}
    values = session.run(list(kept.values()), feeds)
    return {name: torch.from_numpy(value) for name, value in zip(kept, values, strict=True)}

"""Times of ONNX Runtime's kernels, by the part of the model that they compute.

Names of nodes do not survive ONNX Runtime's fusions, names of values do. The value that a kernel writes leads to the
node of the exported graph that made it, and there the exporter noted which module the node comes from.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from exporters.graph.onnx import load_graph
from exporters.graph.scopes import part_of
from exporters.runtimes.runtime import SHARED
from exporters.runtimes.sessions import OPTIMISED, OnnxRunner, import_onnxruntime, open_session

OF_KERNEL = "_kernel_time"  # ends the names of the profiler's events of kernels
CALL = "model_run"  # its name for a call


class Shapes(NamedTuple):
    """The types, as ONNX Runtime names them, and the shapes of what a kernel read and wrote."""

    read: Sequence[tuple[str, Sequence[int]]]
    written: Sequence[tuple[str, Sequence[int]]]


class KernelRunner(OnnxRunner):
    """The session of an :class:`OnnxRunner` on the CPU, with ONNX Runtime's profiler on from its opening.

    Attributes:
        optimised: the graph that ONNX Runtime executes, without its weights; there while it is open.
    """

    optimised: Path

    def open(self) -> None:
        """Create the session.

        Raises:
            InputError: no such file, or one that ONNX Runtime cannot load.
            EnvironmentProblem: ONNX Runtime is missing.
        """
        import_onnxruntime()
        self._values = find_parts(load_graph(self.path))  # first: the graph and the session need not be there at once
        self._folder = TemporaryDirectory()
        self.optimised = Path(self._folder.name) / OPTIMISED
        with self._refusals():
            self.singly = "each kernel is watched"
            self.session = open_session(self.path, self.provider, self.threads, profile_in=self.optimised.parent)
        self.input_names = tuple(entry.name for entry in self.session.get_inputs())
        self.output_names = tuple(entry.name for entry in self.session.get_outputs())

    def close(self) -> None:
        """Let the session and its files go."""
        super().close()
        self._folder.cleanup()

    def parts_of_kernels(self) -> dict[str, str]:
        """Return the part of the model that each kernel computes, by the kernel's name.

        A kernel that computes nodes of two parts at once (the end of one layer and the norm in front of the next)
        belongs to that of the first value it writes.
        """
        graph = load_graph(self.optimised)
        values = find_parts(graph, self._values)
        return {node.name: values[node.output[0]] for node in graph.graph.node}

    def kernel_times(self) -> dict[str, list[float]]:
        """Return the milliseconds of every kernel in each call so far, by its name, and of the call as :data:`CALL`.

        The profiler is off from here on.
        """
        times = defaultdict(list)
        for name, event in self._events():
            times[name].append(event["dur"] / 1e3)
        return dict(times)

    def kernel_shapes(self) -> dict[str, Shapes]:
        """Return what every kernel read and wrote in the last call, by its name.

        Weights that ONNX Runtime has packed for a kernel are not among them. The profiler is off from here on.
        """
        sides = "input_type_shape", "output_type_shape"
        return {
            name: Shapes(*([entry for given in event["args"][side] for entry in given.items()] for side in sides))
            for name, event in self._events()
            if name != CALL
        }

    def _events(self) -> Iterator[tuple[str, Any]]:
        """Return the profiler's events of calls and kernels, with the names of the kernels."""
        for event in json.loads(Path(self.session.end_profiling()).read_text()):
            if event["name"] == CALL or event["name"].endswith(OF_KERNEL):
                yield event["name"].removesuffix(OF_KERNEL), event

    def part_times(self, whole_ms: float) -> dict[str, list[float]]:
        """Return the milliseconds of every part of the model in each call so far, by its name as in :func:`find_parts`.

        Args:
            whole_ms: of a call without the profiler. One with it takes longer, in a small model several times as long;
                the kernels' times are shortened in proportion.
        """
        parts, times, kernels = self.parts_of_kernels(), defaultdict(list), self.kernel_times()
        calls = kernels.pop(CALL)
        share = min(1.0, whole_ms / median(calls))
        for kernel, taken in kernels.items():
            times[parts.get(kernel, SHARED)].append([ms * share for ms in taken])
        return {part: [sum(call) for call in zip(*every, strict=True)] for part, every in times.items()}


def find_parts(graph: Any, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the part of a step model that computes each value of a graph: ``prologue``, ``blocks.FL0``, ``epilogue``.

    A node without a note of its module belongs to the part that reads what it writes, and to ``shared`` where several
    do; a node that writes outputs of the graph alone belongs to the part it reads from.

    Args:
        graph: an ONNX model.
        known: parts of values, by their names; they go before any note.
    """
    known, nodes = known or {}, graph.graph.node
    found: dict[str, str] = {}
    readers: dict[str, set[str]] = defaultdict(set)
    for node in reversed(nodes):
        reading = set().union(*(readers[value] for value in _named(node.output)))
        part = next((known[value] for value in node.output if value in known), None) or part_of(node) or _one(reading)
        if part:
            found |= dict.fromkeys(_named(node.output), part)
            for value in _named(node.input):
                readers[value].add(part)
    for node in nodes:
        if node.output[0] not in found:
            read = {found[value] for value in node.input if value in found}
            found |= dict.fromkeys(_named(node.output), _one(read) or SHARED)
    return found


def _one(parts: set[str]) -> str | None:
    """Return the only one of ``parts``; ``shared`` of several."""
    return SHARED if len(parts) > 1 else next(iter(parts), None)


def _named(values: Any) -> Iterator[str]:
    """Without the empty names of optional values that are not there."""
    return (value for value in values if value)

"""Times of OpenVINO's kernels, by the part of the model that they compute.

Operations have the names of their modules, and kernels those of the operations that they were made of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

from torch import Tensor

from exporters.runtimes.openvino.openvino_ir import find_places, part_of_operation
from exporters.runtimes.openvino.openvino_runner import OpenVINORunner
from exporters.runtimes.runner import Bound
from exporters.runtimes.runtime import SHARED


class ProfiledRunner(OpenVINORunner):
    """A model whose kernels are timed, by OpenVINO itself, which gives each one's mean over all calls."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        super().__init__(path, threads, profiled=True)
        self._calls: list[float] = []  # milliseconds of each
        self._kernels: list[dict[str, float]] = []  # after each call, milliseconds of all so far

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """As of any runner, but that calls are noted."""
        bound = super().bind(inputs)

        def execute() -> None:
            started = perf_counter()
            bound()
            self._calls.append(1e3 * (perf_counter() - started))
            times = {entry.node_name: entry.real_time.total_seconds() for entry in self.request.profiling_info}
            self._kernels.append({name: 1e3 * mean * len(self._calls) for name, mean in times.items() if mean})

        return Bound(execute, bound.outputs)

    def part_times(self, whole_ms: float) -> dict[str, list[float]]:
        """Return the milliseconds of every part of the model in a call, the mean of the later half of all calls so far.

        Args:
            whole_ms: of a call without the profiler. One with it takes longer; the kernels' times are shortened in
                proportion.
        """
        half = len(self._calls) // 2
        later = len(self._calls) - half
        share = min(1.0, whole_ms / median(self._calls[half:])) / later
        before = self._kernels[half - 1] if half else {}
        parts, times = self.parts_of_kernels(), defaultdict[str, float](float)
        for name, total in self._kernels[-1].items():
            times[parts.get(name, SHARED)] += max(0.0, total - before.get(name, 0.0)) * share
        return {part: [ms] for part, ms in times.items()}

    def parts_of_kernels(self) -> dict[str, str]:
        """Return the part of the model that each kernel computes, by the kernel's name; of those of no part nothing.

        A kernel made of operations of two parts belongs to that of the first one.
        """
        kernels = self.compiled.get_runtime_model().get_ordered_ops()
        names = {kernel.get_friendly_name(): kernel.get_rt_info()["originalLayersNames"] for kernel in kernels}
        made_of = {kernel: [kernel, *names[kernel].astype(str).split(",")] for kernel in names}
        parts = {kernel: next(filter(None, map(part_of_operation, every)), None) for kernel, every in made_of.items()}
        found = {kernel: part for kernel, part in parts.items() if part}
        find_places(kernels, found)
        return found

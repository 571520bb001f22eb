"""Times of single layers and their skip adapters on a runtime: the prices of a latency budget."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from compressor.families import FAMILIES
from compressor.jobs.job import Job
from compressor.models.steps import Step, Streams
from compressor.models.surgery import new_skip_adapter, split_layers
from compressor.progress import QUIET, Progress
from compressor.search.budgets import Prices
from exporters.export_time import LayerAlone
from exporters.graph.inputs import trim_images
from exporters.runtimes.runtime import ModelSource
from profiles.deployment.ways import choose_runtimes
from profiles.gates.budget_check import runtime_of
from profiles.timing.latency import Call, cuda_clock, measure, wall_clock

SECONDS = 10.0  # for the table; a large model takes longer for its least number of turns


@dataclass(frozen=True)
class _Part:
    """A piece of a model that is timed by itself, and what it reads, by name."""

    module: nn.Module
    inputs: Mapping[str, Tensor]

    @property
    def form(self) -> str:
        """Return modules and sizes: parts of one form are the same graph with other weights, and take the same time."""
        sizes = {name: tuple(value.shape) for name, value in self.inputs.items()}
        return f"{self.module} {sizes}"

    def load(self) -> nn.Module:
        """Return the module, as runtimes ask for it."""
        return self.module


def layer_prices(job: Job, progress: Progress = QUIET, seconds: float = SECONDS) -> Prices:
    """Time the full model, and each candidate and its adapter: their difference is what skipping saves, in ms.

    Where tokens are merged the candidates are those of the model that does, and it is timed, too.

    The full model, the candidates and their adapters are timed in turns, each by itself, on one real sample, at the
    budget's quantile; layers of one form are timed once. What a runtime gains by fusing neighbours, and caches that a
    whole model empties, are not seen: the finished model is measured once more.

    Args:
        job: with a latency budget.
        progress: told about the graphs that are made and timed.
        seconds: time to measure for.

    Raises:
        EnvironmentProblem: the runtime cannot run on the job's device.
    """
    budget = job.settings.budget
    assert budget is not None
    (runtime,) = choose_runtimes([runtime_of(budget).name], job.device.type)
    with torch.random.fork_rng():  # fresh adapters are drawn: nothing behind them may be drawn otherwise
        full, merging, layers, adapters = _parts(job)
    parts = {part.form: part for part in (full, merging, *layers.values(), *adapters.values())}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        calls: dict[str, Call] = {}
        for form, part in progress.track(parts.items(), f"Preparing layers for {runtime.name}", len(parts)):
            path = Path(folder) / f"{len(calls)}{runtime.suffix}"
            file = runtime.write_part(part.module, path, part.inputs)
            source = ModelSource(part.load, file, tuple(part.inputs))
            runner = stack.enter_context(runtime.open(source, job.device.type, torch.get_num_threads()))
            calls[form] = runner.bind({name: value.cpu() for name, value in part.inputs.items()})
        times = measure(
            calls,
            seconds=seconds,
            clock=cuda_clock if job.device.type == "cuda" and runtime.seen_by_torch else wall_clock,
            progress=progress,
            label=f"timing layers in {runtime.name}",
        )

    def taken(part: _Part) -> float:
        return getattr(times[part.form], f"{budget.at}_ms")

    saved = {name: taken(layers[name]) - taken(adapters[name]) for name in layers}
    return Prices(full=taken(full), saved=saved, beside=taken(merging) - taken(full))


def _parts(job: Job) -> tuple[_Part, _Part, dict[str, _Part], dict[str, _Part]]:
    """Return the full model, the same with merged tokens, and of that every candidate, and the adapter of each."""
    merging, inputs = job.merge_tokens(job.model), _first_sample(job)
    model = split_layers(merging, job.candidates)
    layers, adapters = {}, {}
    with torch.no_grad():
        streams = model.prologue(**inputs)
        for round_ in model.rounds:
            for step in (step for step in round_ if step.name in job.candidates):
                replaced = step.as_skipped()
                layers[step.name] = _part(step, model.blocks[step.name], streams)
                adapters[step.name] = _part(
                    replaced, new_skip_adapter(model, step.name, job.settings.skip_width), streams
                )
            streams = model.advance(streams, (round_,))
    return _Part(job.model, inputs), _Part(merging, inputs), layers, adapters


def _part(step: Step, block: nn.Module, streams: Streams) -> _Part:
    return _Part(LayerAlone(step, block), {name: streams[name] for name in step.reads if name in streams})


def _first_sample(job: Job) -> dict[str, Tensor]:
    family = FAMILIES[job.model.family]
    inputs = trim_images(family, job.sample(), getattr(job.model.dims, "patch", 1))
    return {name: inputs[name] for name in family.input_names}

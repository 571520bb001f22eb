"""One model in one runtime, in a process of its own that measures itself when it is told to.

What one model leaves in caches and allocators never meets the other, and yet the two can take turns. The process reads
a request and then commands from its standard input, one JSON document a line, and answers each with one on standard
output; it waits for them without using the CPU. On the command line are modules to import, and where a template is told
to fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from compressor.costs.parts import without_idle
from compressor.errors import DasError, EnvironmentProblem, Problem, environment_problem
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import Run, open_run
from compressor.values import Value
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from exporters.runtimes.runner import Bound
from exporters.runtimes.runtime import ModelSource
from profiles.comparison.full_vs_slim import Started
from profiles.machine.kernels import Launch, time_kernels
from profiles.machine.memory import Memory, read_resident, watch_calls
from profiles.timing.latency import Clock, Sample, cuda_clock, time_burst, wall_clock, warm_up
from profiles.timing.sample_batches import make_inputs
from profiles.timing.template import Process, serve_as_template

FULL, SLIM = "full", "slim"
# -P: the folder that das was started in is not a place to import from.
COMMAND = (sys.executable, "-P", "-m", "profiles.timing.worker")
MADE_OF = "transformers.modeling_utils"  # what takes seconds to import, and no file needs


class Setting(Value):
    """Sizes of a model's inputs: samples, texts of ``text_length`` tokens, square images of ``image_size`` pixels.

    None leaves texts and images as the samples of the run have them.
    """

    batch: int = 1
    text_length: int | None = None
    image_size: int | None = None


class WorkerRequest(Value):
    """The model of a run, "full" or "slim", and how to run it; ``file`` if it is an exported one.

    ``precision`` is what a model that is no file computes in, a key of ``PRECISIONS``.
    """

    run: Path
    which: str
    runtime: str
    file: Path | None
    threads: int
    device: str
    setting: Setting
    precision: str = "fp32"


class Worker:
    """The process of one model, a context manager; see the module.

    Whatever it is asked raises an EnvironmentProblem when the process died (out of memory, say) or cannot do it.

    Attributes:
        request: what it was started for.
        started: how long loading took.

    Args:
        request: what it is to run.
        start: starts the process, which writes its last words to the file that it is given.
    """

    started: Started

    def __init__(self, request: WorkerRequest, start: Callable[[IO[str]], Process]) -> None:
        self.request, self._errors = request, TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        try:
            self._process = start(self._errors)
        except OSError as error:
            raise self._unable(f"no measuring process could be started: {error}") from None
        self._tell(request.model_dump_json())

    def __enter__(self) -> Self:
        """Wait until the model is loaded and was called once."""
        try:
            self.started = Started.model_validate(self._answer())
        except BaseException:
            self.__exit__("not loaded")
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0]:
            self._process.kill()  # it may be in the middle of a long call
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def turn(self) -> tuple[Sample, ...]:
        """Time a call, or a few short ones."""
        return tuple((wall, gpu) for wall, gpu in self._do("turn"))

    def warm_up(self) -> None:
        """Call it a few times."""
        self._do("warm_up")

    def bind(self, setting: Setting) -> None:
        """Give it other inputs, and warm up with them."""
        self._do("bind", setting.model_dump())

    def memory(self) -> Memory:
        """Measure the memory of a call."""
        return Memory.model_validate(self._do("memory"))

    def launch(self) -> Launch:
        """Tell how a call's kernels are launched on the GPU, and how long they run."""
        return Launch.model_validate(self._do("launch"))

    def _do(self, command: str, value: Any = None) -> Any:
        self._tell(json.dumps([command, value]))
        return self._answer()

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        reply = json.loads(line)
        if "problem" in reply:
            problem = Problem(**reply["problem"])
            raise EnvironmentProblem(replace(problem, found=self._what(problem.found)))
        return reply["answer"]

    def _died(self) -> DasError:
        status = self._process.wait()
        self._errors.seek(0)
        reason = (self._errors.read().strip().splitlines() or ["no message"])[-1]
        return self._unable(f"the measuring process ended with status {status}: {reason}")

    def _unable(self, found: str) -> DasError:
        fix = "das profile with a smaller --batch, or without this --runtime"
        return environment_problem("measuring-died", self._what(found), "a model that can be run here", fix)

    def _what(self, found: str) -> str:
        return f"{self.request.which} in {self.request.runtime}: {found}"


def command_of(requests: Iterable[WorkerRequest]) -> tuple[str, ...]:
    """Return the command that starts workers for these requests; where models are built, with what they are made of."""
    return COMMAND if all(request.file for request in requests) else (*COMMAND, MADE_OF)


def resize_inputs(run: Run, setting: Setting) -> dict[str, Tensor]:
    """Return samples of the run in other sizes: texts cut or repeated, images scaled."""
    family, inputs = FAMILIES[run.manifest.family], make_inputs(run, setting.batch)
    if setting.text_length:
        columns = torch.arange(setting.text_length) % family.sizes_of("text", inputs)["length"]
        inputs |= {name: inputs[name][:, columns] for name in family.names_of("text")}
        if (mask := family.mask_of("text")) is not None:  # that no runtime skips padding
            inputs[mask] = torch.ones_like(inputs[mask])
    if setting.image_size:
        side = (setting.image_size, setting.image_size)
        inputs |= {name: _scaled(inputs[name], side) for name in family.names_of("image")}
    return inputs


def _scaled(images: Tensor, side: tuple[int, int]) -> Tensor:
    """Scale (..., H, W) to another height and width, of the same type."""
    flat = images.reshape(-1, 1, *images.shape[-2:]).float()
    return interpolate(flat, size=side).reshape(*images.shape[:-2], *side).to(images.dtype)


class _WorkerModel:
    """The model in this process, and its commands."""

    def __init__(self, request: WorkerRequest) -> None:
        torch.set_num_threads(request.threads)
        self.run, self.runtime = open_run(request.run), find_runtime(request.runtime)
        self.seen = request.device == "cuda" and self.runtime.seen_by_torch
        self.clock: Clock = cuda_clock if self.seen else wall_clock
        importlib.import_module(self.runtime.module)
        load = {FULL: lambda: without_idle(self.run.load_full(checked=True)), SLIM: self.run.load_slim}[request.which]
        inputs = resize_inputs(self.run, request.setting)
        self.before, started = read_resident(), time.perf_counter()
        source = ModelSource(load, request.file, precision=PRECISIONS[request.precision])
        self.runner = self.runtime.open(source, request.device, request.threads)
        self.runner.open()
        self.bound: Bound = self.runner.bind(inputs)
        loaded = time.perf_counter()
        self.clock(self.bound)
        self.started = Started(load_seconds=loaded - started, first_call_seconds=time.perf_counter() - loaded)

    def turn(self, _: None) -> Sequence[Sample]:
        return time_burst(self.bound, self.clock)

    def warm_up(self, _: None) -> None:
        warm_up(self.bound)

    def bind(self, setting: Mapping[str, Any]) -> None:
        self.bound = self.runner.bind(resize_inputs(self.run, Setting.model_validate(setting)))
        warm_up(self.bound)

    def memory(self, _: None) -> dict[str, Any]:
        # What the calls of a CUDA graph need was taken when it was captured; PyTorch's counters see it in no replay.
        return watch_calls(self.bound.uncaptured or self.bound, self.before, self.seen).model_dump()

    def launch(self, _: None) -> dict[str, Any]:
        return Launch(how=self.bound.launch, kernels_ms=time_kernels(self.bound)).model_dump()


def serve(commands: IO[str], answers: IO[str]) -> None:
    """Load the model of the request in the first line and do what the others say."""

    def answer(make: Callable[[], Any]) -> None:
        try:
            reply = {"answer": make()}
        except DasError as error:
            reply = {"problem": asdict(error.problems[0])}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()

    models: list[_WorkerModel] = []

    def start() -> dict[str, float]:
        models.append(_WorkerModel(WorkerRequest.model_validate_json(commands.readline())))
        return models[0].started.model_dump()

    answer(start)
    for line in commands:
        command, value = json.loads(line)
        answer(lambda command=command, value=value: getattr(models[0], command)(value))  # type: ignore[misc]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to handle; this one ends with it
    descriptors = [argument for argument in sys.argv[1:] if argument.isdigit()]
    for module in sys.argv[1 : len(sys.argv) - len(descriptors)]:
        importlib.import_module(module)
    for descriptor in descriptors:
        serve_as_template(int(descriptor), serve)
    if not descriptors:
        channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no answer
        serve(sys.stdin, channel)

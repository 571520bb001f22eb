"""One way to run a model, whatever executes it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from compressor.errors import InputError, Problem, environment_problem, input_error

if TYPE_CHECKING:
    from torch import Tensor


class Refused(InputError):
    """A runtime does not take a file, or these inputs, or gives no numbers for them: an export that does it failed."""


def refused(code: str, found: str, expected: str, fix: str) -> Refused:
    """Return a :class:`Refused` with a single problem."""
    return Refused(Problem(code, found, expected, fix))


@dataclass(frozen=True)
class Bound:
    """Inputs where a runtime reads them. Each call executes the model once and moves nothing.

    PyTorch returns from a call on a GPU before the GPU is done; the other runtimes wait for it.

    Attributes:
        execute: runs the model once.
        outputs: what the last call left, by name; of ONNX Runtime on the CPU, of the others on their device.
        launch: on a GPU, how kernels are launched, for people; empty where there is no choice.
        uncaptured: where ``execute`` replays a CUDA graph, the call that it was captured from.
    """

    execute: Callable[[], None]
    outputs: Callable[[], dict[str, Tensor]]
    launch: str = ""
    uncaptured: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Execute the model once."""
        self.execute()

    def fetch(self) -> dict[str, Tensor]:
        """Return the outputs of the last call by name, float32 on the CPU."""
        return {name: value.float().cpu() for name, value in self.outputs().items()}


class Runner(ABC):
    """A context manager: what it runs is loaded on entry and let go on exit.

    Attributes:
        name: what executes the model and where, for people to read.
        input_names: what the model reads, known once it is open.
        output_names: what it returns, known once it is open.

    """

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def open(self) -> None:
        """Load the model; checks that can fail fail here."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what was loaded."""

    @abstractmethod
    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Put inputs, (B, ...) by name, where the runtime reads them, so that calls can be timed by themselves.

        On a GPU the call becomes a CUDA graph where it can; :attr:`Bound.launch` says so, or why not.
        """

    def bind_once(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Do the same for few calls: nothing is made that only many calls are worth."""
        return self.bind(inputs)

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once: inputs, (B, ...) by name, to outputs by name, float32 on the CPU."""
        bound = self.bind_once(inputs)
        bound()
        return bound.fetch()

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, (B, classes) float32 on the CPU, of the model's inputs (CPU tensors by name)."""
        return self.outputs(inputs)[self.output_names[0]]

    def select(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the inputs that the graph declares: tracing drops what nothing reads."""
        missing = [name for name in self.input_names if name not in inputs]
        if missing:
            raise input_error(
                "input-missing",
                f"no {', '.join(missing)} among the inputs ({', '.join(inputs)})",
                f"what {self.name} reads: {', '.join(self.input_names)}",
                "give every input of the model",
            )
        return {name: inputs[name] for name in self.input_names}


class Remembering(Runner):
    """A runner that runs the same inputs once: the model, where several files are compared with it on the same samples.

    Args:
        runner: what runs them.
        known: its logits, (B, classes), by its name and :func:`digest_inputs`; what it runs is added. None starts anew.
    """

    def __init__(self, runner: Runner, known: dict[str, Tensor] | None = None) -> None:
        self.runner, self.known, self.name = runner, {} if known is None else known, runner.name

    def open(self) -> None:
        """Open the runner."""
        self.runner.open()
        self.input_names, self.output_names = self.runner.input_names, self.runner.output_names

    def close(self) -> None:
        """Close the runner; what it answered stays known."""
        self.runner.close()

    def learn(self, inputs: Mapping[str, Tensor], logits: Tensor) -> None:
        """Take ``logits`` for what it answers to inputs, unless it was asked: they were computed before."""
        self.known.setdefault(self._key(inputs), logits)

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Bind them to the runner, whose calls are not remembered."""
        return self.runner.bind(inputs)

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the logits of inputs, (B, classes) float32 on the CPU, from memory where they were run before."""
        key = self._key(inputs)
        if key not in self.known:
            self.known[key] = self.runner.run(inputs)
        return self.known[key]

    def _key(self, inputs: Mapping[str, Tensor]) -> str:
        return f"{self.name} {digest_inputs(inputs)}"


def digest_inputs(inputs: Mapping[str, Tensor]) -> str:
    """Return a digest of the names, types, shapes and numbers of CPU tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(inputs.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def require_cuda(purpose: str) -> None:
    """Hold that there is a GPU.

    Raises:
        EnvironmentProblem: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise environment_problem(
            "no-cuda-device", "no CUDA device", f"a GPU, for {purpose}", "use another runtime, or a GPU machine"
        )

"""Checkpoints of an unfinished compression: which stage, which step, so that Ctrl-C costs seconds, not the run."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor

from compressor.distributed import all_gather, from_main
from compressor.errors import Interrupted, input_error
from compressor.files import atomic_file, cannot_write
from compressor.saved_run.run_places import partial_of

STATE = "state.pt"
SAVE_EVERY_SECONDS = 30.0
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stateful(Protocol):
    """Work in steps that can be continued in another process."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later process needs, between two steps."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""


class Stage(StrEnum):
    """The stages of a compression or a tuning whose results are kept for a later process, in order."""

    LABEL = "label"
    PRICE = "price"
    EVALUATE = "evaluate"
    SEARCH = "search"
    TRY = "try"
    RECOVER = "recover"
    TUNE = "tune"


@dataclass
class State:
    """State that a later process resumes from: plain values and tensors on the CPU.

    Attributes:
        settings: what must be the same for the run to be resumed.
        results: of the finished stages.
        stage: the stage that was interrupted; None between two stages.
        step: steps of it that this process had done.
        progress: ``state_dict()`` of the worker after that step.
        kept: names of what was kept in memory of encoded samples, by label: the last bits depend on it.
        seconds: that each part of the compression took.
    """

    settings: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)
    stage: str | None = None
    step: int = 0
    progress: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class RunCheckpoint:
    """The state of one compression on disk, in ``<run>.partial`` beside the run to be; nowhere without a folder.

    A stage that takes steps runs inside :meth:`running` and calls :meth:`after_step` after each; it is saved every 30
    seconds, always at the end of a step. Other stages leave their result by :meth:`finish`.

    Args:
        folder: of the finished run; None keeps nothing.
        settings: what must be the same for the run to be resumed.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else partial_of(folder)
        self.state = State(dict(settings))
        self._stage: str | None = None
        self._signals: list[int] = []
        self._saved = time.monotonic()

    def reserve(self) -> None:
        """Make the folder, so that no other run takes the same name.

        Raises:
            InputError: another run has it.
        """
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True)
        except FileExistsError:
            raise input_error(
                "run-interrupted-there",
                f"{self.folder} belongs to a run that is going on or was interrupted",
                "a new folder",
                "the same command with --resume, another --out, or remove it",
            ) from None

    def load(self) -> None:
        """Read the state of an interrupted run, on all processes; nothing where it was killed before there was any.

        Raises:
            InputError: the state is damaged or belongs to other settings.
        """
        self.state = from_main(self._read)

    def _read(self) -> State:
        assert self.folder is not None
        path = self.folder / STATE
        if not path.exists():
            return self.state
        try:
            state = State(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:
            raise input_error(
                "state-unreadable",
                f"{path} cannot be resumed ({error})",
                "a state that das saved",
                "start again without --resume",
            ) from None
        check_same(path, self.state.settings, state.settings)
        return state

    def save(self) -> None:
        """Write the state, whole or not at all.

        Raises:
            EnvironmentProblem: the folder cannot be written.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        with atomic_file(self.folder / STATE) as temporary, temporary.open("wb") as file:
            try:
                torch.save(vars(self.state), file)
            except RuntimeError as error:  # PyTorch's word for a full disk
                raise OSError(str(error)) from None
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the state: the run is complete."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def result(self, stage: Stage) -> Any:
        """Return what :meth:`finish` was given for a stage; None where it is not finished."""
        return self.state.results.get(stage)

    def finish(self, stage: Stage, result: Any) -> None:
        """Save the result of a stage: plain values and tensors."""
        self.state.results[stage.value] = _copy_to_cpu(result)
        self.state.stage, self.state.step, self.state.progress = None, 0, {}
        self.save()

    @contextmanager
    def running(self, stage: Stage, worker: Stateful) -> Iterator[None]:
        """Wrap a stage that takes steps, from where an interrupted run stopped; signals wait for the end of a step."""
        if self.state.stage == stage:
            worker.load_state_dict(self.state.progress)
        self._stage, self._signals, self._saved = stage.value, [], time.monotonic()
        main = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.signal(number, self._on_signal) for number in STOPPING} if main else {}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def after_step(self, step: int, worker: Stateful) -> None:
        """Save the worker's state if it is time to, or if a signal arrived.

        Of several processes all stop after the same step, whichever of them was told to.

        Args:
            step: number of steps that this process has done.
            worker: the one that :meth:`running` was given.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, once the state is safe.
        """
        signals = all_gather(list(self._signals))
        if signals or time.monotonic() - self._saved > SAVE_EVERY_SECONDS:
            self.state.stage, self.state.step = self._stage, step
            self.state.progress = _copy_to_cpu(worker.state_dict())
            self.save()
        if signals:
            kept = "go on with the same command and --resume" if self.folder else "nothing was kept"
            raise Interrupted(f"stopped after step {step}; {kept}", signals[0])

    @contextmanager
    def save_on_interrupt(self) -> Iterator[None]:
        """Wrap the whole compression: on Ctrl-C the results of finished stages are saved; without any nothing stays.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, when there is something to go on from.
        """
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Interrupted) or not (self.state.results or self.state.stage):
                raise
            self.save()
            hint = "stopped between two stages; go on with the same command and --resume"
            raise Interrupted(hint, getattr(interrupt, "number", signal.SIGINT)) from None
        finally:
            if self.folder is not None and self.folder.exists() and not (self.folder / STATE).exists():
                self.remove()


def check_same(path: Path, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """Refuse to go on with what was made with ``earlier`` settings that differ from ``settings``.

    Raises:
        InputError: names them.
    """
    if changed := [name for name, value in settings.items() if earlier.get(name) != value]:
        raise input_error(
            "settings-changed",
            f"{path} was made with other settings ({', '.join(changed)})",
            "the command that was interrupted",
            "repeat it with the same options and --resume, or start again without --resume",
        )


def _copy_to_cpu(value: Any) -> Any:
    """Return a deep copy of tensors and plain values."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: _copy_to_cpu(entry) for key, entry in value.items()}
    return [_copy_to_cpu(entry) for entry in value] if isinstance(value, list | tuple) else value

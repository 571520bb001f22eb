"""Saving a training's state while it runs, so that Ctrl-C or a lost machine costs seconds, not the run."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from compressor.distributed import all_gather, from_main
from compressor.errors import Interrupted, input_error
from compressor.files import atomic_file, cannot_write
from compressor.run_folder import partial_of

STATE = "state.pt"
SAVE_EVERY_SECONDS = 30.0
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Resumable:
    """The resumable state of one compression, in ``<run>.partial`` beside the run to be; nowhere without a folder.

    ``state`` is a plain dictionary of tensors and values; what is in it when :meth:`save` is called is what a later
    process finds. It always describes the end of a step, never the middle of one.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else partial_of(folder)
        self.state: dict[str, Any] = {"settings": dict(settings)}

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

    @contextmanager
    def kept_on_interrupt(self) -> Iterator[None]:
        """Around the whole compression: what finished stages left in the state is saved on Ctrl-C, else nothing stays.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, when there is something to go on from.
        """
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Interrupted) or self.state.keys() <= {"settings", "in_memory", "seconds"}:
                raise
            self.save()
            hint = "stopped between two stages; go on with the same command and --resume"
            raise Interrupted(hint, getattr(interrupt, "number", signal.SIGINT)) from None
        finally:
            if self.folder is not None and self.folder.exists() and not (self.folder / STATE).exists():
                self.remove()

    def load(self) -> None:
        """Read the state of an interrupted run; nothing where it was killed before there was any.

        Raises:
            InputError: the state is damaged or belongs to other settings.
        """
        self.state = from_main(self._read)

    def _read(self) -> dict[str, Any]:
        assert self.folder is not None
        path = self.folder / STATE
        if not path.exists():
            return self.state
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise input_error(
                "state-unreadable",
                f"{path} cannot be resumed ({error})",
                "a state that das saved",
                "start again without --resume",
            ) from None
        check_same(path, self.state["settings"], saved["settings"])
        return saved

    def save(self) -> None:
        """Write the state, whole or not at all."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        with atomic_file(self.folder / STATE) as temporary, temporary.open("wb") as file:
            try:
                torch.save(self.state, file)
            except RuntimeError as error:  # PyTorch's word for a full disk
                raise OSError(str(error)) from None

    def remove(self) -> None:
        """Forget the state: the run is complete."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def saving(self, take: Callable[[], Mapping[str, Any]]) -> Iterator[Callable[[int], None]]:
        """Around a training loop: yields what the loop calls after every step.

        Every 30 seconds, and on Ctrl-C or SIGTERM, ``take()`` is put into the state and saved. Of several processes
        all stop after the same step, whichever of them was asked to.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, once the state is safe.
        """
        asked: list[int] = []
        last = time.monotonic()

        def ask(number: int, frame: FrameType | None) -> None:
            asked.append(number)

        def after_step(step: int) -> None:
            nonlocal last
            stops = all_gather(list(asked))
            if stops or time.monotonic() - last > SAVE_EVERY_SECONDS:
                self.state.update(copy_of(dict(take())))
                self.save()
                last = time.monotonic()
            if stops:
                kept = "go on with the same command and --resume" if self.folder else "nothing was kept"
                raise Interrupted(f"stopped after step {step}; {kept}", stops[0])

        main = threading.current_thread() is threading.main_thread()
        previous = {number: signal.signal(number, ask) for number in STOPPING} if main else {}
        try:
            yield after_step
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def check_same(path: Path, asked: Mapping[str, Any], made_with: Mapping[str, Any]) -> None:
    """Refuse to go on with what was ``made_with`` other settings than those ``asked`` for.

    Raises:
        InputError: names them.
    """
    if changed := [name for name, value in asked.items() if made_with.get(name) != value]:
        raise input_error(
            "settings-changed",
            f"{path} was made with other settings ({', '.join(changed)})",
            "the command that was interrupted",
            "repeat it with the same options and --resume, or start again without --resume",
        )


def copy_of(value: Any) -> Any:
    """A deep copy of tensors and plain values, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: copy_of(entry) for key, entry in value.items()}
    return [copy_of(entry) for entry in value] if isinstance(value, list | tuple) else value

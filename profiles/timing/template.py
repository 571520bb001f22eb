"""Fresh processes without the seconds that it takes to import PyTorch.

The first process that is started from Python becomes the template, and every worker is a fork of that. It loads its
model itself, into memory of its own, and starts its own threads, as a process does that was started from Python. What a
fork has in common with its template are addresses, so each skips a number of pages of its own.

The template has no thread that runs anything and has not touched a GPU. Where there is no safe fork, on other systems
than Linux, every worker is started from Python.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from mmap import PAGESIZE, mmap
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryFile
from typing import IO, Protocol, Self

CAN_FORK = sys.platform == "linux"
MOST_PAGES = 4096  # that a fork skips
MESSAGE = 32  # bytes, more than a process's number has

Serve = Callable[[IO[str], IO[str]], None]


class Process(Protocol):
    """A process that is told and that answers in lines of text; a Popen is one."""

    @property
    def stdin(self) -> IO[str] | None:
        """Return the file that it reads."""

    @property
    def stdout(self) -> IO[str] | None:
        """Return the file that it answers in."""

    @property
    def pid(self) -> int:
        """Return its number."""

    def wait(self) -> int:
        """Return the status that it ended with, below 0 the number of a signal."""

    def kill(self) -> None:
        """End it."""


class Template:
    """Starts workers, as forks of one process where that is safe; a context manager.

    Args:
        command: starts a worker from Python. With the number of a file behind it, it starts a template that is told
            there to fork.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command, (self._channel, self._other) = command, socket.socketpair()
        self._process: Popen[bytes] | None = None
        self._errors = TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._channel.close()
        self._other.close()
        if self._process:
            self._process.wait()
        self._errors.close()

    def prepare(self) -> None:
        """Start the template, which imports while others work, where there is one and it was not started before."""
        if CAN_FORK and not self._process:
            descriptor = self._other.fileno()
            command = [*self._command, str(descriptor)]
            self._process = Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=self._errors, pass_fds=(descriptor,))
            self._other.close()

    def start(self, errors: IO[str]) -> Process:
        """Start a worker, which writes its last words to ``errors``.

        Raises:
            OSError: the template is gone.
        """
        if not CAN_FORK:
            return Popen(self._command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True, bufsize=1)
        self.prepare()
        return self._fork(errors)

    def _fork(self, errors: IO[str]) -> Process:
        (commands, write), (read, answers) = os.pipe(), os.pipe()
        theirs = [commands, answers, errors.fileno()]
        try:
            socket.send_fds(self._channel, [b"fork"], theirs)
            pid = self._read()
        except ConnectionError:
            os.close(write)
            os.close(read)
            raise ConnectionError(self._last_words()) from None
        finally:
            os.close(commands)
            os.close(answers)
        return Forked(self, pid, os.fdopen(write, "w", buffering=1), os.fdopen(read))

    def _last_words(self) -> str:
        assert self._process
        status = self._process.wait()
        self._errors.seek(0)
        return f"status {status}: {(self._errors.read().strip().splitlines() or ['no message'])[-1]}"

    def wait(self, pid: int) -> int:
        """Return the status that a fork of the template ended with; where the template was killed, that of a kill."""
        try:
            self._channel.send(str(pid).encode())
            return self._read()
        except OSError:
            return -signal.SIGKILL

    def _read(self) -> int:
        answer = self._channel.recv(MESSAGE)
        if not answer:
            raise ConnectionError("the template is gone")
        return int(answer)


@dataclass(frozen=True)
class Forked:
    """A fork of a template, as a :class:`Process`."""

    template: Template
    pid: int
    stdin: IO[str]
    stdout: IO[str]

    def wait(self) -> int:
        """Return the status that it ended with."""
        return self._status

    @cached_property
    def _status(self) -> int:
        return self.template.wait(self.pid)

    def kill(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)


def serve_as_template(descriptor: int, serve: Serve) -> None:
    """Fork whenever that is asked for at ``descriptor``, until nobody listens there.

    Args:
        descriptor: the template's end of the channel.
        serve: what a worker does with its commands and answers.
    """
    with socket.socket(fileno=descriptor) as channel:
        _fork_on_demand(channel, serve)


def _fork_on_demand(channel: socket.socket, serve: Serve) -> None:
    while True:
        message, descriptors, *_ = socket.recv_fds(channel, MESSAGE, 3)
        if not message:
            return
        if not descriptors:
            _, status = os.waitpid(int(message), 0)
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())
        elif pid := os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            channel.send(str(pid).encode())
        else:
            channel.close()
            commands, answers, errors = descriptors
            _become_worker(commands, answers, errors, serve)


def _become_worker(commands: int, answers: int, errors: int, serve: Serve) -> None:
    status = 1
    try:
        os.dup2(errors, 1)  # what libraries print is no answer
        os.dup2(errors, 2)
        with mmap(-1, PAGESIZE * (1 + secrets.randbelow(MOST_PAGES))), os.fdopen(commands) as told:
            serve(told, os.fdopen(answers, "w"))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

"""Errors a user can act on: what was found, what was expected, the command that fixes it, and a code for programs."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_LINE = 200  # characters of an error of a library


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: ``found`` and ``expected`` are clauses, ``fix`` a command or an instruction.

    ``code`` names the fault for programs and tests, as "unknown-layer": a few words of lower case joined by hyphens,
    the same wherever the same fault is found, and never with a value in it. The three clauses may be said better in
    any release; a code stays what it is.
    """

    code: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"found:    {self.found}\nexpected: {self.expected}\nfix:      {self.fix}"


class DasError(Exception):
    """A mistake in the input, the usage or the environment, or a failed check; never a bug in das.

    Carries one or more problems, so that everything wrong is reported at once. ``exit_code`` is the contract of
    docs/architecture.md: 2 usage, 3 input, 4 check failed, 5 environment.
    """

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    @property
    def codes(self) -> tuple[str, ...]:
        """The code of each problem."""
        return tuple(problem.code for problem in self.problems)


class UsageError(DasError):
    """Wrong options or configuration."""

    exit_code = 2


class InputError(DasError):
    """A checkpoint, table, image or run that cannot be used."""

    exit_code = 3


class CheckFailed(DasError):
    """A comparison that was asked for, or is always made, did not hold."""

    exit_code = 4


class EnvironmentProblem(DasError):
    """Something the machine lacks: a device, a library, space on the disk."""

    exit_code = 5


class Checks:
    """Independent checks whose problems are reported together: ``with checks:`` wraps each of them.

    A check inside another one is made only where that has got so far.
    """

    def __init__(self) -> None:
        self.found: list[DasError] = []

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        """Keep an error for later."""
        if isinstance(error, DasError):
            self.found.append(error)
            return True
        return False

    def raise_found(self) -> None:
        """Raise everything that was found as one error: of usage where any of it is, else of input before others.

        What two checks found under the same code is said once.
        """
        problems: list[Problem] = []
        for error in self.found:
            known = {problem.code for problem in problems}
            problems += [problem for problem in error.problems if problem.code not in known]
        if problems:
            raise type(min(self.found, key=lambda error: error.exit_code))(*problems)


def input_error(code: str, found: str, expected: str, fix: str) -> InputError:
    """Return an :class:`InputError` with a single problem."""
    return InputError(Problem(code, found, expected, fix))


def usage_error(code: str, found: str, expected: str, fix: str) -> UsageError:
    """Return a :class:`UsageError` with a single problem."""
    return UsageError(Problem(code, found, expected, fix))


def environment_problem(code: str, found: str, expected: str, fix: str) -> EnvironmentProblem:
    """Return an :class:`EnvironmentProblem` with a single problem."""
    return EnvironmentProblem(Problem(code, found, expected, fix))


def shorten(names: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """Return the first names of a list for a message, and how many more there are."""
    beyond = len(names) - most
    return between.join(names[:most]) + (f" and {beyond} more" if beyond > 0 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says went wrong, without PyTorch's advice to load a file unsafely."""
    lines = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines()
    return lines[0][:LONGEST_LINE] if lines else type(error).__name__


def one_line(error: Exception) -> str:
    """Return all lines of what a library says went wrong as one: ONNX Runtime has its numbers behind the first."""
    return " ".join(str(error).split())[: 2 * LONGEST_LINE] or type(error).__name__


class Terminated(KeyboardInterrupt):
    """SIGTERM, as clusters send it before they take a machine away: handled like Ctrl-C."""

    number: int = signal.SIGTERM


class Interrupted(KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM, ``number``; ``hint`` says what was kept and how to go on."""

    def __init__(self, hint: str, number: int = signal.SIGINT) -> None:
        super().__init__(hint)
        self.hint, self.number = hint, number

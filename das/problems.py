"""What stopped a command, as a JSON document."""

from __future__ import annotations

from compressor.errors import DasError, Problem
from compressor.values import Value


class Problems(Value):
    """What is wrong, and the exit code; each problem has the three parts and the code that stderr shows, too."""

    schema_version: int = 1
    exit_code: int
    problems: tuple[Problem, ...]


def list_problems(error: DasError) -> Problems:
    """Return the problems of an error."""
    return Problems(exit_code=error.exit_code, problems=error.problems)

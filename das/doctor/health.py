"""The results of ``das doctor`` as values."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import computed_field

from compressor.values import Value

SCHEMA_VERSION = 1


class Item(Value):
    """One thing looked at: ``found`` says what is there, ``fix`` is a command when something is missing."""

    name: str
    ok: bool
    found: str
    fix: str | None = None


class Need(Value):
    """Bytes that one stage of a command needs of one resource, by purpose in ``parts``, and bytes that are free.

    ``fix`` is a command that needs less, or what to do; None where there is enough.
    """

    stage: str
    resource: str
    parts: Mapping[str, int]
    free: int
    fix: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """Return the sum of all parts."""
        return sum(self.parts.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def enough(self) -> bool:
        """Return whether the total is free."""
        return self.total <= self.free


class Needs(Value):
    """The estimates for a checkpoint or a run: parameters and bytes of its weights in float32, and its stages."""

    subject: str
    family: str
    task: str
    parameters: int
    weights: int
    stages: tuple[Need, ...]


class Health(Value):
    """The result of ``das doctor``; ``needs`` are estimates for a checkpoint or run, None without one."""

    schema_version: int = SCHEMA_VERSION
    items: tuple[Item, ...]
    needs: Needs | None = None

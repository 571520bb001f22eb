"""What ``das doctor`` prints, as values."""

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
    """What one stage of a command takes of one resource, in bytes, and what is free of it; ``parts`` by what for.

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
        """Everything together."""
        return sum(self.parts.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def enough(self) -> bool:
        """Whether as much is free."""
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
    """What ``das doctor`` prints; ``needs`` are estimates for the model it was asked about, None without one."""

    schema_version: int = SCHEMA_VERSION
    items: tuple[Item, ...]
    needs: Needs | None = None

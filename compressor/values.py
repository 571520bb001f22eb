"""The base of every value that is written as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Value(BaseModel):
    """A frozen pydantic model: compared by its fields, never changed, JSON both ways."""

    model_config = ConfigDict(frozen=True)


def list_faults(error: ValidationError) -> list[str]:
    """Return what is wrong with a value: ``field: why`` for each of its fields, ``why`` alone for the whole."""
    return [": ".join(filter(None, (".".join(map(str, one["loc"])), one["msg"]))) for one in error.errors()]

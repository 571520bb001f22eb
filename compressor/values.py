"""The base of every value that is written as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen pydantic model: compared by its fields, never changed, JSON both ways."""

    model_config = ConfigDict(frozen=True)

"""The examination: the machine, and what a checkpoint or run takes on it."""

from __future__ import annotations

from pathlib import Path

from das.doctor.health import Health
from das.doctor.machine import can_look_further, check_machine


def check_health(subject: Path | None = None) -> Health:
    """Look at the machine, at packages and at every runtime, and at what ``subject`` takes.

    Args:
        subject: a checkpoint to compress or a run to export.

    Raises:
        InputError: ``subject`` is neither, or cannot be read.
    """
    items = check_machine()
    if subject is None or not can_look_further():
        return Health(items=items)
    from das.doctor.estimates import estimate

    return Health(items=items, needs=estimate(subject))

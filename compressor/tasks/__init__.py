"""Tasks: what a batch is worth, and how an answer is read. One explicit registry."""

from __future__ import annotations

from compressor.tasks.base import Task
from compressor.tasks.vqa import VQA

TASKS: dict[str, Task] = {task.name: task for task in (VQA,)}
"""Every task das knows, by the name users type."""

"""Where a node of a graph comes from: the exporter notes in every node the modules that it was traced in."""

from __future__ import annotations

import ast
import re
from typing import Any

NAMES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
# Exporters trace a wrapper: a step model's modules begin behind its attributes.
WRAPPER = re.compile(r"^.*?(?=\b(?:prologue|blocks|epilogue)\b)")
PART = re.compile(r"(?:prologue|epilogue|blocks\.\w+)")


def scopes_of(node: Any, kind: str = NAMES) -> tuple[str, ...]:
    """Return what the exporter noted of a node, outermost first; the last is the node itself. Empty without a note.

    Args:
        node: of an ONNX graph.
        kind: ``NAMES`` of the modules, or their ``CLASSES``.
    """
    notes = {entry.key: entry.value for entry in node.metadata_props}
    return tuple(ast.literal_eval(notes[kind])) if kind in notes else ()


def modules_of(node: Any) -> frozenset[str]:
    """Return the names of the step model's modules that a node is computed in."""
    return frozenset(filter(None, map(module_name, scopes_of(node)[:-1])))


def module_name(scope: str) -> str:
    """Return the name of a module in the step model, from one in what was traced; empty for the wrapper itself."""
    return WRAPPER.sub("", scope) if WRAPPER.match(scope) else ""


def part_of(node: Any) -> str | None:
    """Return the part of the step model that a node is computed in: ``prologue``, ``blocks.FL0``, ``epilogue``."""
    names = (PART.match(module_name(scope)) for scope in scopes_of(node))
    return next((name[0] for name in names if name), None)

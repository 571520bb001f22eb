"""Commands that work with models say that they load PyTorch before they do: it takes seconds."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from typer.core import TyperCommand

FAMILIES, MODELS = "compressor.families", "transformers.modeling_utils"


class FamilyCommand(TyperCommand):
    """A command that needs PyTorch, and what models are made of only where it builds one."""

    def invoke(self, ctx: Any) -> Any:
        """Load PyTorch, and run the command."""
        _load("PyTorch", FAMILIES)
        return super().invoke(ctx)


class ModelCommand(TyperCommand):
    """A command that needs PyTorch and transformers."""

    def invoke(self, ctx: Any) -> Any:
        """Load both, and run the command."""
        load_libraries()
        return super().invoke(ctx)


def load_libraries() -> None:
    """Import what models are made of, and say so where that was not done yet."""
    _load("PyTorch and transformers", FAMILIES, MODELS)


def _load(libraries: str, *modules: str) -> None:
    if all(module in sys.modules for module in modules):
        return
    from das.terminal import progress

    with progress().stage(f"Loading {libraries}"):
        for module in modules:
            import_module(module)

"""Commands that work with models say that they load PyTorch before they do: it takes seconds."""

from __future__ import annotations

import sys
from typing import Any

from typer.core import TyperCommand


class ModelCommand(TyperCommand):
    """A command that needs PyTorch and transformers."""

    def invoke(self, ctx: Any) -> Any:
        """Load both, and run the command."""
        load_libraries()
        return super().invoke(ctx)


def load_libraries() -> None:
    """Import what models are made of, and say so where that was not done yet."""
    if "compressor.families" in sys.modules:
        return
    from das.terminal import progress

    with progress().stage("Loading PyTorch and transformers"):
        import compressor.families  # noqa: F401

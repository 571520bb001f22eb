"""Models of Hugging Face, by name: from the network, or without one among those that were downloaded earlier."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

WEIGHTS = frozenset({".ckpt", ".pt", ".pth", ".bin", ".safetensors"})  # suffixes of their files
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
PATIENCE = 3.0  # seconds for a first answer: the client itself tries again and again


def is_downloaded(source: str | Path) -> bool:
    """Return whether nothing lies there, and Hugging Face is asked for a model of that name."""
    path = Path(source)
    return not path.exists() and path.suffix not in WEIGHTS | {".json"} and bool(_NAME.fullmatch(str(source)))


def why_offline() -> str | None:
    """Return why Hugging Face is not asked; None where it is."""
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return None if _answers(constants.ENDPOINT) else f"{constants.ENDPOINT} cannot be reached"


@cache
def _answers(address: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(address, timeout=PATIENCE)
    except Exception:  # the client raises anything
        return False
    return True


def download(name: str, patterns: Sequence[str]) -> Path:
    """Return the folder of a model with its files of these patterns; without a network that of an earlier download.

    Raises:
        FileNotFoundError: without a network, and it was not downloaded.
        Exception: whatever the client raises.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    offline = why_offline()
    try:
        return Path(snapshot_download(name, allow_patterns=[*patterns], local_files_only=bool(offline)))
    except LocalEntryNotFoundError:
        if offline:
            raise FileNotFoundError(f"not downloaded earlier, and {offline}") from None
        raise

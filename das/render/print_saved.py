"""A saved folder in the terminal."""

from __future__ import annotations

from compressor.hub.hub_folder import SavedFolder
from das.terminal import console
from profiles.formatting import format_bytes, format_count


def print_saved(saved: SavedFolder) -> None:
    """Print what was written, how it answers, and how it is loaded."""
    size = f"{format_count(saved.parameters)} parameters, {format_bytes(saved.weight_bytes)}"
    console.print(f"{saved.architecture}, {saved.layers} layers, {size}")
    console.print(f"loaded again, its logits are the run's within {saved.max_abs_error:.1e} on {saved.samples} samples")
    if not saved.tokenizer_as_it_came:
        console.print("tokenizer: written anew, to be read as das reads it")
    trust = ", trust_remote_code=True" if saved.trust_remote_code else ""
    console.print(f"load it: {saved.loader}.from_pretrained({saved.folder!r}{trust})", soft_wrap=True)
    if saved.trust_remote_code:
        console.print("its adapters are code in modeling_das.py, so transformers asks for")
        console.print("trust_remote_code=True; not after import das.hub, where das is installed")

"""A saved folder in the terminal, and one whose vocabulary was trimmed."""

from __future__ import annotations

from compressor.hub.hub_folder import SavedFolder
from compressor.hub.sentence_folder import LOADER
from compressor.vocabulary.trim_folder import TrimmedVocabulary
from das.terminal import console
from profiles.formatting import format_bytes, format_count


def print_saved(saved: SavedFolder) -> None:
    """Print what was written, how it answers, and how it is loaded."""
    size = f"{format_count(saved.parameters)} parameters, {format_bytes(saved.weight_bytes)}"
    console.print(f"{saved.architecture}, {saved.layers} layers, {size}")
    console.print(
        f"loaded again, its outputs are the run's within {saved.max_abs_error:.1e} on {saved.samples} samples"
    )
    if saved.tokenizer_as_it_came is False:
        console.print("tokenizer: written anew, to be read as das reads it")
    _print_loading(saved)


def print_trimmed(trimmed: TrimmedVocabulary) -> None:
    """Print what became smaller, what was compared, and how the folder is loaded."""
    console.print(f"{trimmed.architecture}, {trimmed.tokenizer} tokenizer")
    console.print(f"tokens      {trimmed.full_tokens:,} -> {trimmed.tokens:,}; {trimmed.used:,} are in the texts")
    console.print(f"parameters  {format_count(trimmed.full_parameters)} -> {format_count(trimmed.parameters)}")
    console.print(f"weights     {format_bytes(trimmed.full_weight_bytes)} -> {format_bytes(trimmed.weight_bytes)}")
    console.print(f"the same tokens in all {trimmed.texts:,} texts; the same output within")
    console.print(f"{trimmed.max_abs_error:.1e} on {trimmed.samples} of them")
    if trimmed.not_copied:
        console.print(f"not copied, as they may depend on the tokens: {', '.join(trimmed.not_copied)}", soft_wrap=True)
    _print_loading(trimmed)


def _print_loading(saved: SavedFolder | TrimmedVocabulary) -> None:
    trust = ", trust_remote_code=True" if saved.trust_remote_code else ""
    call = saved.loader if saved.loader == LOADER else f"{saved.loader}.from_pretrained"
    console.print(f"load it: {call}({saved.folder!r}{trust})", soft_wrap=True)
    if saved.trust_remote_code:
        console.print("its adapters are code in modeling_das.py, so transformers asks for")
        console.print("trust_remote_code=True; not after import das.hub, where das is installed")

"""The files beside the weights that a run keeps as they came: what transformers reads of settings, words and images."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from compressor.checkpoints.sources.locate import CONFIG
from compressor.checkpoints.sources.sentence_modules import CROSS_ENCODER_FILES, is_cross_encoder, read_sentence_folder
from compressor.files import TOKENIZER_FILE

FOLDER = "source"  # of a run
SETTINGS = "tokenizer_config.json"
WORDS, MERGED, MERGES = "vocab.txt", "vocab.json", "merges.txt"  # of BERT's kind, and the two of RoBERTa's
SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
VOCABULARIES = (TOKENIZER_FILE, WORDS, MERGED, *SENTENCEPIECE)  # any of them makes a folder one of a tokenizer
TOKENIZER_FILES = (SETTINGS, "special_tokens_map.json", "added_tokens.json", MERGES, *VOCABULARIES)
IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")


def find_source_files(checkpoint: Path, tokenizer: Path | None) -> dict[str, Path]:
    """Return by name the files of settings beside the weights, and those of the tokenizer, which may lie elsewhere.

    Args:
        checkpoint: a folder, or a file in one.
        tokenizer: folder of the tokenizer that was found for it; in a run lies the one that the run was given.
    """
    home = checkpoint if checkpoint.is_dir() else checkpoint.parent
    found = {name: home / name for name in (CONFIG, *IMAGE_FILES)}
    found |= {name: path for name, path in read_sentence_folder(home).files.items() if path.suffix == ".json"}
    if is_cross_encoder(home, {}):
        found |= {name: home / name for name in CROSS_ENCODER_FILES}
    if tokenizer:
        kept = tokenizer / FOLDER if (tokenizer / FOLDER).is_dir() else tokenizer
        found |= {name: kept / name for name in TOKENIZER_FILES}
    return {name: path for name, path in found.items() if path.is_file()}


def copy_source_files(files: Mapping[str, Path], run: Path) -> None:
    """Copy them into the folder of a run.

    Raises:
        OSError: one cannot be read or written.
    """
    (run / FOLDER).mkdir()
    for name, path in files.items():
        (run / FOLDER / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, run / FOLDER / name)

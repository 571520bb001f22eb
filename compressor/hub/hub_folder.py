"""A run's slim model as a folder of transformers: written, loaded again, and compared with the run before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers.utils import logging

from compressor.checkpoints.sources.locate import CONFIG, SAFE
from compressor.checkpoints.sources.sentence_modules import CROSS_ENCODER_FILES
from compressor.checkpoints.sources.source_files import IMAGE_FILES
from compressor.errors import CheckFailed, Problem, input_error, shorten
from compressor.families import FAMILIES
from compressor.families.key_mapping import MODULE_KEYS, Format, State
from compressor.files import atomic_folder, read_settings, write_json, write_text
from compressor.hub import modeling_das
from compressor.hub.register import register_classes
from compressor.hub.sentence_folder import LOADER, compute_vectors, options_of, split_tensors, write_modules
from compressor.hub.slim_config import find_loader, make_config, model_class
from compressor.hub.slim_tensors import SlimTensors, find_format, name_tensors
from compressor.hub.tokenizer_files import write_tokenizer
from compressor.models.padding import zero_padding
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import Run
from compressor.tasks import TASKS
from compressor.tasks.reranking.reranking_task import RERANKING
from compressor.values import Value

CARD = "README.md"
KEYS = ("missing_keys", "unexpected_keys", "mismatched_keys")


class SavedFolder(Value):
    """What was written.

    Attributes:
        folder, run: paths.
        architecture: class that config.json names.
        loader: class of transformers whose ``from_pretrained`` loads the folder, or sentence-transformers' class.
        trust_remote_code: whether it has code of its own, for its adapters, and so must be told to.
        layers: that are left.
        parameters, weight_bytes: of model.safetensors.
        tokenizer_as_it_came: whether the tokenizer's files are those of the full model, or were written anew; None of
            models that read no text.
        samples: real ones that the folder's model, loaded again, was compared with the run's on.
        max_abs_error: largest difference of an output.
    """

    schema_version: int = 1
    folder: str
    run: str
    architecture: str
    loader: str
    trust_remote_code: bool
    layers: int
    parameters: int
    weight_bytes: int
    tokenizer_as_it_came: bool | None
    samples: int
    max_abs_error: float


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        InputError: it does, or is a file.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise input_error("folder-exists", f"{folder} {what}", "a new folder, or an empty one", "give another --to")


def save_folder(
    run: Run, folder: Path, write_card: Callable[[SavedFolder], str], progress: Progress = QUIET
) -> SavedFolder:
    """Write a run's slim model as transformers stores models, whole or not at all.

    Args:
        run: whose model has a class in transformers.
        folder: new, or empty.
        write_card: returns the text of README.md.
        progress: told about each stage.

    Raises:
        InputError: transformers has no class for the run's model, the run is damaged, or the folder holds something.
        CheckFailed: the folder's model, loaded again, does not answer as the run's does; nothing is left of it.
        EnvironmentProblem: it cannot be written.
    """
    check_folder(folder)
    register_classes()  # transformers would ask whether it may run the folder's code
    format = find_format(run.manifest.family, run.manifest.task)
    _check_merging(run)
    with progress.stage("Opening the run"):
        tensors = name_tensors(run.load_saved(), format)
        vectors = format.prefix(run.manifest.task) == MODULE_KEYS
        behind = State()
        if vectors:
            tensors, behind = split_tensors(tensors, format)
    with atomic_folder(folder.absolute()) as temporary:
        with progress.stage("Writing the folder"):
            config = _write_model(run, format, tensors, temporary)
            _write_images(run, format, temporary)
            if vectors:
                write_modules(run, format, behind, temporary)
            _write_cross_encoder(run, temporary)
            reads_text = bool(FAMILIES[run.manifest.family].names_of("text"))
            as_it_came = write_tokenizer(run, temporary) if reads_text else None
        with progress.stage("Loading it again"):
            samples, error = _compare(run, format, config, temporary)
        saved = SavedFolder(
            folder=str(folder),
            run=str(run.path),
            architecture=config["architectures"][0],
            loader=LOADER if vectors else find_loader(config),
            trust_remote_code=tensors.adapters is not None,
            layers=len(tensors.layers),
            parameters=sum(value.numel() for value in (*tensors.state.values(), *behind.values())),
            weight_bytes=(temporary / SAFE[0]).stat().st_size,
            tokenizer_as_it_came=as_it_came,
            samples=samples,
            max_abs_error=error,
        )
        write_text(temporary / CARD, write_card(saved))
    return saved


def _check_merging(run: Run) -> None:
    """Refuse a model whose layers merge tokens, which no class of transformers does.

    Raises:
        InputError: the run's does.
    """
    if getattr(run.dims, "merged_tokens", ()):
        raise input_error(
            "merged-tokens-not-saved",
            f"{run.path} merges tokens of images: transformers has no class for that, and would compute all of them",
            "a model with all its tokens",
            "das export RUN, whose graphs merge them; or das compress without --merge-tokens",
        )


def _write_model(run: Run, format: Format, tensors: SlimTensors, folder: Path) -> dict[str, Any]:
    """Write weights, config.json and, where there are adapters, their code; return what config.json holds."""
    said = run.source_file(CONFIG)
    source = read_settings(said) if said else {}
    config = make_config(format, run.dims, TASKS[run.manifest.task], tensors, run.labels(), source)
    write_json(folder / CONFIG, config)
    state = {name: value.contiguous() for name, value in tensors.state.items()}
    save_file(state, folder / SAFE[0], metadata={"format": "pt"})  # transformers refuses files that do not say so
    if tensors.adapters:
        shutil.copyfile(modeling_das.__file__, folder / Path(modeling_das.__file__).name)
    return config


def _write_images(run: Run, format: Format, folder: Path) -> None:
    """Write what is done to images: the files as they came where the run followed them, else what the run did."""
    if not (format.library and format.read_beside):
        return
    came = {name: path for name in IMAGE_FILES if (path := run.source_file(name))}
    for name, path in came.items():
        shutil.copyfile(path, folder / name)
    if not came or format.read_beside(run.dims, folder)[0] != run.dims:
        for name in came:
            (folder / name).unlink()
        for name, content in format.library.write_beside(run.dims).items():
            write_json(folder / name, content)


def _write_cross_encoder(run: Run, folder: Path) -> None:
    """Write what sentence-transformers reads of a cross-encoder beside the model: how its scores are scaled."""
    if TASKS[run.manifest.task] is RERANKING:
        for name in CROSS_ENCODER_FILES:
            if path := run.source_file(name):
                shutil.copyfile(path, folder / name)


def _compare(run: Run, format: Format, config: Mapping[str, Any], folder: Path) -> tuple[int, float]:
    """Return on how many samples the folder's model was compared with the run's, and their largest difference.

    Of an embedder the modules behind its transformer are those that the folder names, and it is of vectors.

    Raises:
        CheckFailed: it is too large, or tensors are missing.
    """
    inputs = run.samples()
    rows = max(map(len, inputs.values()))
    # Of retrieval an image has several captions; transformers wants one image for each text.
    inputs = {name: x.repeat_interleave(rows // len(x), dim=0) for name, x in inputs.items()}
    model, report = load_folder(model_class(config), folder, **options_of(folder))
    with torch.inference_mode():
        ours, answered = run.load_slim()(**inputs), model(**inputs)
        if format.prefix(run.manifest.task) == MODULE_KEYS:
            states = answered.last_hidden_state
            theirs = compute_vectors(run, format, folder, states, inputs["attention_mask"])
        else:
            assert format.library
            theirs = format.library.read_output(answered)
            theirs = zero_padding(theirs, inputs) if TASKS[run.manifest.task].output == "tags" else theirs
    error, allowed = float((ours - theirs).abs().max()), FAMILIES[run.manifest.family].tolerances["fp32"]
    by = f"outputs by {error:.1e}"
    wrong = [f"{what.replace('_', ' ')} {shorten(sorted(report[what]))}" for what in KEYS if report[what]]
    if wrong or not error <= allowed:
        raise CheckFailed(
            Problem(
                "saved-model-differs",
                f"transformers answers otherwise with the folder than das: {'; '.join([by, *wrong])}",
                f"outputs within {allowed:.0e}",
                "another version of transformers (pyproject.toml names those that das is made for); nothing was kept",
            )
        )
    return rows, error


def load_folder(kind: Any, folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return a folder's model of a class of transformers in eval mode, and what the library says of its tensors."""
    shown, said = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # the report says which tensors are missing
    try:
        model, report = kind.from_pretrained(str(folder), output_loading_info=True, **options)
    finally:
        logging.set_verbosity(said)
        if shown:
            logging.enable_progress_bar()
    return model.eval(), report

"""What a config.json declares of its model, in the terms of transformers, and how far that is from what das takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from compressor.errors import InputError, input_error

MULTI_LABEL, REGRESSION = "multi_label_classification", "regression"
OF_SEQUENCES = "sequence-classification"  # transformers' name for the task of a text classifier
FILE = "a model of transformers: give its folder, or put its config.json, with model_type, beside the file"
DECLARE = (
    "declare the family (docs/add-a-family.md), in compressor/families or in a package of yours with the entry point "
    "das.families"
)
ADAPTERS = "das_adapters"  # in the config.json of what das save wrote of a model with adapters
OTHER_MODEL = "nothing in das makes it take this one: give an encoder that was fine-tuned for the same"
_HEADLESS = ("TEXT_ENCODING", "IMAGE", "BACKBONE", "PRETRAINING")  # groups of classes without a head of one task
_GENERATING = ("SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "SPEECH_SEQ_2_SEQ")
_TEXT = ("MASKED_LM", "SEQUENCE_CLASSIFICATION", "TOKEN_CLASSIFICATION")
_ATTENTION = ("num_attention_heads", "num_heads")


def architectures_in(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the classes of the library that config.json names; nothing where it names none."""
    declared = config.get("architectures") or ()
    return tuple(map(str, declared if isinstance(declared, list | tuple) else [declared]))


def task_of_class(architecture: str) -> str:
    """Return what transformers calls the task of one of its classes (token-classification); '' for no single one."""
    return _tasks_of_classes().get(architecture, "")


def other_purpose(config: Mapping[str, Any]) -> str:
    """Return what a head for sequences is for that does not choose one of several classes; '' where it does."""
    stated = config.get("problem_type")
    if stated == MULTI_LABEL:
        return "multi-label-classification"
    names = config.get("id2label")
    outputs = len(names) if isinstance(names, Mapping | list) and names else config.get("num_labels")
    return REGRESSION if stated == REGRESSION or outputs == 1 else ""


def refuse_unknown(path: Path, config: Mapping[str, Any], families: Mapping[str, str]) -> InputError:
    """Return the error for a model of none of ``families``, from the ``model_type`` that its config.json declares.

    Args:
        path: of the checkpoint.
        config: of it, with a ``model_type``.
        families: their names, by the ``model_type`` of each.
    """
    kind, named = str(config["model_type"]), " and ".join(architectures_in(config))
    subject = f"{path} is {f'{named}, ' if named else ''}of model_type {kind}"
    if ADAPTERS in config:
        return input_error(
            "slim-already",
            f"{path} is a slim model that das save wrote, with adapters ({named})",
            "the full model, or the run that the slim one was made by",
            "das compress the full model, or das compress --from RUN for another size; das eval RUN, das profile RUN",
        )
    known = f"a model of one of: {', '.join(dict.fromkeys(families.values()))}"
    groups = _groups_of(kind)
    if kind not in modeling_auto.MODEL_MAPPING_NAMES and not groups:
        return input_error(
            "unknown-model",
            f"{subject}, which neither das nor transformers knows",
            known,
            f"give one of these, or {DECLARE}",
        )
    if (
        config.get("is_encoder_decoder")
        or groups & {*_GENERATING}
        or groups & {"CAUSAL_LM", "MASKED_LM"} == {"CAUSAL_LM"}
    ):
        found = f"{subject}: it has a decoder, which generates, and das removes layers of encoders that classify"
        return input_error("model-generates", found, known, OTHER_MODEL)
    tasks = [task for task in map(task_of_class, architectures_in(config)) if task]
    if groups & {*_TEXT}:
        beside = [f"; nor is there a task of {task}" for task in tasks if task not in (OF_SEQUENCES, "masked-lm")]
        found = f"{subject}: an encoder of text, which no family declares yet{''.join(beside)}"
        fix = f"{DECLARE}{' and a task (docs/add-a-task.md)' * bool(beside)}"
        return input_error("family-undeclared", found, known, fix)
    purpose = f" for {' and '.join(tasks)}" if tasks else ""
    if not _has_attention(kind):
        found = f"{subject}: a model{purpose} without the attention layers that das removes"
        return input_error("unknown-model", found, known, OTHER_MODEL)
    found = f"{subject}: a transformer{purpose}, and das has neither a family nor a task for it"
    return input_error("unknown-model", found, known, f"{DECLARE}, and its task (docs/add-a-task.md)")


def _has_attention(kind: str) -> bool:
    """Return whether a model of this type, or a part of it, has attention heads."""
    config = CONFIG_MAPPING[kind]()
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", ()))]
    return any(hasattr(part, name) for part in parts for name in _ATTENTION)


@cache
def _groups() -> dict[str, Mapping[str, Any]]:
    """Return transformers' groups of classes with a head for one task, by the name of the task."""
    names = (name.removeprefix("MODEL_FOR_").removesuffix("_MAPPING_NAMES") for name in vars(modeling_auto))
    found = {name: getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES", None) for name in names}
    return {name: classes for name, classes in found.items() if classes and name not in _HEADLESS}


def _groups_of(kind: str) -> set[str]:
    return {name for name, classes in _groups().items() if kind in classes}


@cache
def _tasks_of_classes() -> dict[str, str]:
    tasks: dict[str, str] = {}
    for name, classes in _groups().items():
        for given in classes.values():
            for one in _listed(given):
                tasks.setdefault(one, name.lower().replace("_", "-"))
    return tasks


def _listed(given: str | Iterable[str]) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given

"""What users of an export need beside the graph: its classes, texts and images, and the files that tools find them in.

With these files a folder of ONNX graphs is one that transformers, Optimum and transformers.js open by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from compressor.checkpoints.sources.locate import CONFIG
from compressor.checkpoints.sources.source_files import SETTINGS
from compressor.data.types import Transforms
from compressor.families import FAMILIES
from compressor.files import TOKENIZER_FILE, write_json, write_text
from compressor.hub.tokenizer_files import describe_tokenizer
from compressor.models.steps import StepModel
from compressor.saved_run.run_folder import Run

IMAGES, LAYERS = "preprocessor_config.json", "num_hidden_layers"


@dataclass(frozen=True)
class Usage:
    """How a model is used.

    Attributes:
        labels: names of the classes, in the order of the logits.
        transforms: from texts and images to the model's inputs.
    """

    labels: tuple[str, ...]
    transforms: Transforms


def usage_of(run: Run) -> Usage:
    """Return how the models of a run are used.

    Raises:
        InputError: the run's labels or its tokenizer cannot be read.
    """
    return Usage(run.labels(), run.transforms())


def write_usage(folder: Path, model: StepModel, usage: Usage) -> tuple[str, ...]:
    """Write the files that transformers and tools like it look for beside the graphs of ``model``.

    Returns:
        Their names: config.json; where texts are read tokenizer.json and tokenizer_config.json, and where images are
        preprocessor_config.json.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    text, image = usage.transforms.text, usage.transforms.image
    settings = {
        CONFIG: _config(model, usage.labels),
        **({SETTINGS: describe_tokenizer(text, text.length)} if text.inputs else {}),
        **({IMAGES: image.library_settings()} if image else {}),
    }
    for name, content in settings.items():
        write_json(folder / name, content)
    if not text.inputs:
        return (*settings,)
    write_text(folder / TOKENIZER_FILE, unpadded(text.tokenizer).to_str(pretty=True))
    return (*settings, TOKENIZER_FILE)


def unpadded(tokenizer: Tokenizer) -> Tokenizer:
    """Return the same tokenizer, which cuts long texts and pads none: a short text costs what it has to."""
    bare = Tokenizer.from_str(tokenizer.to_str())
    bare.no_padding()
    return bare


def _config(model: StepModel, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return config.json: transformers' own where it knows the model, else the names of family and classes alone."""
    names = {str(number): label for number, label in enumerate(labels)}
    classes: dict[str, Any] = {
        "id2label": names,
        "label2id": {label: int(number) for number, label in names.items()},
    }
    for format in FAMILIES[model.family].formats:
        if format.library and (architecture := format.architecture(model.task)):
            kind = str(format.model_type)
            layers = CONFIG_MAPPING[kind].attribute_map.get(LAYERS, LAYERS)
            sizes = {**format.library.write_config(model.dims), layers: len(model.layers)}
            return {"architectures": [architecture], **sizes, "model_type": kind, **classes}
    return {"model_type": model.family, **classes}

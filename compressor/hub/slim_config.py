"""What config.json says of a slim model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from compressor.checkpoints.declared import ADAPTERS
from compressor.families.key_mapping import Format
from compressor.hub import modeling_das
from compressor.hub.slim_tensors import Adapters, SlimTensors
from compressor.tasks.losses import class_loss
from compressor.tasks.task import Task
from compressor.tasks.texts.multi_label import label_loss
from compressor.tasks.texts.regression import squared_loss

LAYERS, LAYER_TYPES, PRUNED = "num_hidden_layers", "layer_types", "pruned_heads"  # what a config counts per layer
STAGES = ("stage_names", "out_features", "out_indices")  # of a backbone, one for each layer: the class makes them anew
# The types of layers as older versions of the library say them, which cannot say those of any layers.
OLDER_TYPES = "global_attn_every_n_layers"
# Of where the full model lay, of its dtype, of code that is not here; and what is said anew of the classes.
DROPPED = (
    *("_name_or_path", "dtype", "torch_dtype", "auto_map"),
    *("num_labels", "_num_labels", "id2label", "label2id", "problem_type"),
    *("text_config_dict", "vision_config_dict"),  # where old checkpoints of two towers say what counts once more
)
PROBLEM_TYPES = {  # in transformers' words, by what trains them
    class_loss: "single_label_classification",
    label_loss: "multi_label_classification",
    squared_loss: "regression",
}
ANY_MODEL = "AutoModel"


def make_config(
    format: Format, dims: Any, task: Task, tensors: SlimTensors, labels: Sequence[str], source: Mapping[str, Any]
) -> dict[str, Any]:
    """Return config.json of a slim model.

    Args:
        format: of transformers.
        dims: of the full model.
        task: whose head the model has.
        tensors: the slim model's.
        labels: name of each class.
        source: what the full model's config.json says; {} where there was none.
    """
    assert format.library and format.model_type
    library, own = CONFIG_MAPPING[format.model_type], format.library.write_config(dims)
    known = source if source.get("model_type") == format.model_type else {}
    named = {name: own.get(name, value) for name, value in known.items() if name not in DROPPED}
    if LAYER_TYPES in own:
        named.pop(OLDER_TYPES, None)
    made = named | library.from_dict({**named, **own}).to_diff_dict()
    config = {name: value for name, value in made.items() if name not in STAGES}
    architecture = str(format.architecture(task.name))
    config |= {"model_type": format.model_type, "architectures": [architecture], "dtype": "float32"}
    if task.output != "embedding" and len(labels) == dims.classes:
        config |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    if (task.loss is not class_loss or dims.classes > 1) and task.loss in PROBLEM_TYPES:
        config["problem_type"] = PROBLEM_TYPES[task.loss]
    if format.library.count_layers:
        return config | dict(format.library.count_layers(dims, tensors.layers))
    if tensors.adapters is None:
        return config | _of_layers({**config, **own}, tensors.layers, library)
    return config | _with_adapters(config, tensors.adapters)


def _of_layers(own: Mapping[str, Any], layers: Sequence[int], library: Any) -> dict[str, Any]:
    """Return what is counted per layer, for those that are left."""
    counted: dict[str, Any] = {library.attribute_map.get(LAYERS, LAYERS): len(layers)}
    if types := own.get(LAYER_TYPES):
        counted[LAYER_TYPES] = [types[number] for number in layers]
    if pruned := own.get(PRUNED):
        counted[PRUNED] = {new: pruned[str(old)] for new, old in enumerate(layers) if str(old) in pruned}
    return counted


def _with_adapters(config: Mapping[str, Any], adapters: Adapters) -> dict[str, Any]:
    """Return what names the classes with adapters, and says where these are."""
    prefix, module = modeling_das.PREFIX, modeling_das.__name__.rpartition(".")[2]
    (architecture,) = config["architectures"]
    return {
        "model_type": prefix + architecture,
        "architectures": [prefix + architecture],
        "auto_map": {
            "AutoConfig": f"{module}.{prefix}{architecture}{modeling_das.SUFFIX}",
            auto_class(config["model_type"], architecture): f"{module}.{prefix}{architecture}",
        },
        ADAPTERS: asdict(adapters),
    }


def auto_class(model_type: str, architecture: str) -> str:
    """Return the class of transformers that finds this one by config.json, "AutoModelForSequenceClassification".

    It is ``AutoModel`` where none does: with code of its own, any class can be loaded by that.
    """
    for name in (name for name in dir(modeling_auto) if name.startswith(ANY_MODEL)):
        mapping = getattr(getattr(modeling_auto, name), "_model_mapping", None)
        known = None if mapping is None else mapping._model_mapping.get(model_type)
        if architecture in (known if isinstance(known, tuple) else (known,)):
            return name
    return ANY_MODEL


def find_loader(config: Mapping[str, Any]) -> str:
    """Return the name of the class whose ``from_pretrained`` loads a folder with this config.json."""
    (architecture,) = config["architectures"]
    if ADAPTERS in config:
        return next(name for name in config["auto_map"] if name != "AutoConfig")
    named = auto_class(config["model_type"], architecture)
    return architecture if named == ANY_MODEL else named


def model_class(config: Mapping[str, Any]) -> Any:
    """Return the class that a config.json names: the library's, or the one with adapters."""
    (architecture,) = config["architectures"]
    return getattr(modeling_das if ADAPTERS in config else transformers, architecture)

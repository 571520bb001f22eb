"""What an ONNX file says of itself, in its own metadata: how it is used, where it comes from, and its certificate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.data.types import Transforms
from compressor.families import FAMILIES
from compressor.families.family import INPUT_IDS, Family, Input
from compressor.files import parts_of, sha256
from compressor.models.steps import StepModel
from compressor.tasks import TASKS
from exporters.checks.records import Parity
from exporters.graph.onnx import load_graph
from exporters.usage import Usage

PREFIX = "das."


def facts_of(model: StepModel, parity: Parity) -> dict[str, str]:
    """Return the metadata of the graph of ``model``: its origin and the record of its comparison."""
    return {
        "family": model.family,
        "task": model.task,
        "layers": ",".join(model.layers),
        "precision": parity.precision,
        "certificate": parity.model_dump_json(exclude={"sha256", "graph_sha256"}),
    }


def usage_facts(model: StepModel, usage: Usage) -> dict[str, str]:
    """Return the metadata that a program needs to use the graph of ``model``.

    ``inputs`` says of each what it means, its axes and what it holds behind the end of a shorter text or image;
    ``text_length`` is the most tokens that das gives the model, ``longest_text`` the most that it has positions for.
    """
    family, transforms = FAMILIES[model.family], usage.transforms
    inputs = {entry.name: _describe_input(family, entry, model.dims.images, transforms) for entry in family.inputs}
    return {
        "labels": json.dumps(usage.labels, ensure_ascii=False),
        "probabilities": TASKS[model.task].probabilities.__name__,
        "inputs": json.dumps(inputs),
        **({"text_length": str(transforms.text.length)} if transforms.text.inputs else {}),
        **({"longest_text": str(model.dims.longest_text)} if transforms.text.inputs else {}),
        **({"image": json.dumps(transforms.image.describe())} if transforms.image else {}),
    }


def _describe_input(family: Family, entry: Input, images: int, transforms: Transforms) -> dict[str, Any]:
    axes = entry.axes_of(len(entry.axes) if images > 1 else 0)
    padding = transforms.text.padding if entry == INPUT_IDS else 0
    return {
        **({"meaning": entry.meaning} if entry.meaning else {}),
        "axes": axes,
        "dtype": str(entry.dtype).removeprefix("torch."),
        **({"padding": padding} if family.mask_of(entry.modality) else {}),
    }


def embed(path: Path, facts: Mapping[str, str]) -> str:
    """Write ``facts`` into the metadata of an ONNX file, under names that begin with ``das.``.

    Returns:
        SHA-256 of the graph without any metadata, and of the weights beside it, so that the certificate inside can name
        the graph it is for.
    """
    import onnx

    model = load_graph(path)
    del model.metadata_props[:]
    weights = "".join(sha256(part) for part in parts_of(path)[1:])
    graph = model.SerializeToString(deterministic=True)
    digest = hashlib.sha256(graph)
    digest.update(weights.encode())
    facts = {**facts, "graph": digest.hexdigest()}
    props = onnx.ModelProto()
    onnx.helper.set_model_props(props, {PREFIX + name: text for name, text in facts.items()})
    with path.open("wb") as file:
        file.write(graph)
        file.write(props.SerializeToString())  # two messages in a row are one: the weights are made into bytes once
    return digest.hexdigest()

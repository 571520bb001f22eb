"""What an ONNX file says of itself: where it comes from and its certificate, in its own metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from compressor.files import parts_of, sha256
from compressor.models.steps import StepModel
from exporters.checks.records import Parity
from exporters.graph.onnx import load_graph

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

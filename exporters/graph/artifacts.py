"""The ONNX files that runtimes execute or are built from: whole, rounded to int8, or with the vision tower apart."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from exporters.checks.validate import CHECKED_SIZES
from exporters.folder import QDQ, REST, TEXT, VISION
from exporters.graph import onnx
from exporters.graph.inputs import without_padding
from exporters.graph.quantise import nodes_of, quantise_dynamic, quantise_static
from exporters.graph.sensitivity import sensitivities
from exporters.graph.tower_split import never_meet, write_towers
from exporters.graph.vision_split import write_split
from exporters.request import Request
from exporters.runtimes import find_runtime
from exporters.runtimes.runtime import Artifact
from exporters.runtimes.sessions import import_onnxruntime

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


def graph(request: Request, reuse: bool = False) -> Artifact:
    """Return the traced graph in the precision that is asked for.

    Raises:
        EnvironmentProblem: ONNX Runtime, which it is compared in, is missing.
    """

    def write(path: Path, in_float: Collection[str]) -> tuple[str, ...]:
        with request.progress.stage("exporting to ONNX"):
            onnx.export_onnx(
                request.model,
                path,
                request.samples,
                request.opset,
                form=request.form,
                precision=request.precision,
                fixed=request.fixed,
                apart=request.apart,
            )
        return ()

    import_onnxruntime()
    runtime = find_runtime("onnxruntime")
    path = request.folder / runtime.file_name(request.precision, request.fixed)
    return Artifact(
        request,
        path,
        runtime,
        write,
        runs_on=runtime.runs_on(path, request.device),
        packages=PACKAGES,
        batches=(request.fixed.batch,) if request.fixed.batch else CHECKED_SIZES,
        unable=runtime.refuses(request.precision, request.device),
        graph=path,
        reuse=reuse,
    )


def rounded_graph(request: Request, calibrated: bool) -> Artifact:
    """Return the int8 graph made from the fp32 one: dynamic scales for ONNX Runtime, calibrated ones for TensorRT."""
    runtime = find_runtime("onnxruntime")
    source = request.folder / runtime.file_name(request.in_float.precision, request.fixed)
    path = request.folder / runtime.file_name(request.precision, request.fixed, QDQ if calibrated else "")

    def write(target: Path, in_float: Collection[str]) -> tuple[str, ...]:
        excluded = [node for node, module in nodes_of(source).items() if module in in_float]
        remark = f", {len(in_float)} layers left in float" if in_float else ""
        with request.progress.stage(f"rounding to int8{remark}"):
            if calibrated:
                shorten = partial(without_padding, request.model, fixed=request.fixed)
                quantise_static(source, target, request.samples, excluded, shorten=shorten)
            else:
                quantise_dynamic(source, target, excluded)
        return ()

    return Artifact(
        request,
        path,
        runtime,
        write,
        runs_on=runtime.runs_on(path, request.device),
        packages=PACKAGES,
        batches=(request.fixed.batch,) if request.fixed.batch else CHECKED_SIZES,
        graph=path,
        sensitivities=partial(sensitivities, request.model, request.samples, calibrated, request.progress),
    )


def split_graphs(request: Request) -> Artifact:
    """Vision tower and rest, or the two towers of a model that has no more; they are compared together."""
    model, runtime = request.model, find_runtime("onnxruntime")
    towers = never_meet(model.family, model.rounds)
    path = request.folder / (TEXT if towers else REST)

    def write(target: Path, in_float: Collection[str]) -> tuple[str, ...]:
        parts = "both towers" if towers else "the vision tower and the rest"
        with request.progress.stage(f"exporting {parts} to ONNX"):
            if towers:
                write_towers(model, request.samples, target.parent, request.form)
                return ("a graph for each tower, whose vectors have length 1",)
            write_split(model, request.samples, target.with_name(VISION), target, request.form)
        return ("the vision tower as a graph of its own: it runs once per image, whatever the number of questions",)

    return Artifact(
        request,
        path,
        runtime,
        write,
        runs_on=runtime.runs_on(path, request.device),
        packages=PACKAGES,
        batches=CHECKED_SIZES,
        graph=path,
        companions=(VISION,),
    )

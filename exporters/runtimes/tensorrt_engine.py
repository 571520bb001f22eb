"""ONNX to a TensorRT engine: one path for TensorRT 10 and 11 on their GPU, and for TensorRT-RTX, which needs none.

Networks are strongly typed, so the precision is the ONNX file's own; the audit in the metadata says how much of the
engine computes in it. TF32 is switched off: fp32 means fp32 here, as it does in PyTorch by default.
"""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from compressor.errors import DasError, environment_problem, input_error, shorten
from compressor.files import hashes_of, staged
from compressor.progress import QUIET, Progress
from compressor.values import Value
from exporters.checks.audit import Audit, audit_engine, audit_network

TENSORRT, RTX = "tensorrt", "tensorrt_rtx"
INSTALL = {TENSORRT: "pip install tensorrt", RTX: "pip install tensorrt-rtx"}
AMPERE = 80  # built for ahead of time from there on: Turing has no float32 products, and costs the others speed
TIMING_CACHE = "timing.cache"  # beside the ONNX file
NODES_NAMED = 5  # of those with the same problem
MESSAGES_SHOWN = 8  # the latest

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Smallest, usual and largest shape of every input."""


@dataclass(frozen=True)
class Target:
    """Package and GPUs that an engine is built with and for.

    Attributes:
        package: ``tensorrt`` or ``tensorrt_rtx``.
        capabilities: compute capabilities as "SM90".
        gpu: name of the GPU here; None when there is none and the engine is built but not run.

    """

    package: str
    capabilities: tuple[str, ...]
    gpu: str | None

    @property
    def tag(self) -> str:
        """The part of the plan's file name that says where it runs."""
        return "rtx" if self.package == RTX else self.capabilities[0].lower()

    def __str__(self) -> str:
        """Return the package and the compute capabilities: "tensorrt for 9.0"."""
        return f"{self.package} for {', '.join(map(spell, self.capabilities))}"


class EngineMetadata(Value):
    """Metadata of an engine, its origin and its target; saved as JSON beside the plan.

    ``gpu`` is the name of the GPU it was built on, None when it was built ahead of time; ``capabilities`` are those it
    runs on; ``profile`` the smallest, usual and largest shape of every input; ``flags`` the builder flags that were
    set; ``workspace`` the memory in bytes that a layer may use for itself, None for TensorRT's own limit;
    ``timing_cache`` whether times of earlier builds were used: TensorRT-RTX measures none, its cache does nothing;
    ``messages`` TensorRT's own warnings.
    """

    schema_version: int = 2
    package: str
    version: str
    gpu: str | None
    capabilities: tuple[str, ...]
    onnx_sha256: Mapping[str, str]
    profile: Shapes
    strongly_typed: bool = True
    flags: tuple[str, ...]
    tf32: bool
    workspace: int | None = None
    timing_cache: Literal["new", "used", "does nothing"] = "does nothing"
    audit: Audit | None = None
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A plan on disk, its metadata, its bytes, and the seconds it took."""

    path: Path
    metadata: EngineMetadata
    bytes: int
    seconds: float


def find_target() -> Target:
    """TensorRT on a machine with a GPU, TensorRT-RTX where that is missing or where there is no GPU.

    Raises:
        EnvironmentProblem: neither can be used here.
    """
    gpu, here = (torch.cuda.get_device_name(), capability_here()) if torch.cuda.is_available() else (None, None)
    unusable = []
    for package in (TENSORRT, RTX) if here else (RTX,):
        try:
            trt = importlib.import_module(package)
        except (ImportError, OSError) as error:  # not installed, or a library of it that does not load
            unusable.append(f"{package}: {error}")
            continue
        if reason := unsupported(trt) if here and package == RTX else "":
            unusable.append(reason)
            continue
        return Target(package, (here,) if here else ahead_of_time(trt), gpu)
    raise environment_problem(
        "tensorrt-missing",
        f"no usable TensorRT ({'; '.join(unusable)})",
        f"TensorRT for {gpu}" if gpu else "TensorRT-RTX, which builds engines without a GPU",
        INSTALL[TENSORRT if gpu else RTX],
    )


def capability_here() -> str:
    """Return the compute capability of the GPU that is here, as "SM90"."""
    return "SM{}{}".format(*torch.cuda.get_device_capability())


def capabilities_of(trt: Any) -> tuple[str, ...]:
    """Return the compute capabilities that TensorRT-RTX builds for, by its own list.

    ``CURRENT`` is left out: on a GPU outside the list it builds, without a warning, a plan that no device runs.
    """
    return tuple(name for name in trt.ComputeCapability.__members__ if name.startswith("SM"))


def ahead_of_time(trt: Any) -> tuple[str, ...]:
    """Return the compute capabilities that TensorRT-RTX builds one engine for where there is no GPU."""
    return tuple(name for name in capabilities_of(trt) if int(name[2:]) >= AMPERE)


def unsupported(trt: Any) -> str:
    """Return why TensorRT-RTX builds nothing for the GPU that is here; empty where it does."""
    here, known = capability_here(), capabilities_of(trt)
    if here in known:
        return ""
    return f"{RTX} {trt.__version__} does not build for {spell(here)}, only for {', '.join(map(spell, known))}"


def spell(capability: str) -> str:
    """Return a compute capability as NVIDIA writes it: "9.0" for "SM90"."""
    return f"{capability[2:-1]}.{capability[-1]}"


def build_engine(
    onnx_path: Path,
    plan_path: Path,
    shapes: Shapes,
    target: Target,
    progress: Progress = QUIET,
    *,
    parameters: int,
    precision: str = "fp32",
    workspace: int | None = None,
) -> Engine:
    """Build ``plan_path`` and its metadata from an ONNX file; times are kept in ``timing.cache`` beside that file.

    Args:
        onnx_path: with dynamic axes inside ``shapes``.
        plan_path: the engine's file; it and ``<plan>.json`` appear when they are complete.
        shapes: of every input with a dynamic axis.
        target: from :func:`find_target`.
        progress: told about the stages.
        parameters: of the model, for the audit.
        precision: what the ONNX file is meant to be in; the audit says how much of the engine is.
        workspace: bytes a layer may use for itself while it runs; None leaves the limit to TensorRT.

    Raises:
        EnvironmentProblem: this TensorRT cannot parse or build the graph, or the file cannot be written.
    """
    trt = importlib.import_module(target.package)
    started = time.perf_counter()
    logger, messages = _logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # what a missing or too old driver looks like from Python
        raise _refused("tensorrt-without-driver", target, trt, "has no driver it can use", messages) from None
    network = _network(trt, builder)
    parser = trt.OnnxParser(network, logger)
    with progress.stage("reading the ONNX file into TensorRT"):
        if not parser.parse_from_file(str(onnx_path)):
            reasons = _unsupported(trt, builder, logger, onnx_path) or _errors(parser)
            raise _refused("graph-refused", target, trt, f"cannot read {onnx_path}", reasons)
    operators = allow_decomposing(trt, network)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it engines keep their types to themselves
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if target.package == RTX:
        config.num_compute_capabilities = len(target.capabilities)
        for index, name in enumerate(target.capabilities):
            config.set_compute_capability(trt.ComputeCapability.__members__[name], index)
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    if config.add_optimization_profile(profile) < 0:
        raise _refused("profile-refused", target, trt, f"does not take the profile {dict(shapes)}", messages)
    times = onnx_path.with_name(TIMING_CACHE)
    timing_cache = "does nothing" if target.package == RTX else use_timing_cache(config, times)
    with progress.stage(f"building the TensorRT engine for {target.tag}"):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        limit = "" if workspace is None else f" in a workspace of {workspace} bytes"
        fixes = [
            *(["a larger --workspace, or none"] if workspace else []),
            *(["--attention composed"] if operators else []),
        ]
        fix = ", or ".join(fixes) or None
        raise _refused("engine-not-built", target, trt, f"cannot build {onnx_path}{limit}", messages, fix)
    if target.package != RTX:
        save_timing_cache(config, times)
    capabilities = target.capabilities
    if target.package == RTX:  # what the builder was really told
        told = range(config.num_compute_capabilities)
        capabilities = tuple(config.get_compute_capability(index).name for index in told)
    flags = tuple(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag))
    metadata = EngineMetadata(
        package=target.package,
        version=trt.__version__,
        gpu=target.gpu,
        capabilities=capabilities,
        onnx_sha256=hashes_of(onnx_path),
        profile=shapes,
        flags=flags,
        tf32="TF32" in flags,
        workspace=workspace,
        timing_cache=timing_cache,
        audit=audit_network(network, precision, plan.nbytes, parameters),
        messages=tuple(messages),
    )
    with staged(plan_path) as temporary:
        temporary.write_bytes(plan)
        metadata_path(temporary).write_text(metadata.model_dump_json(indent=2))
        if target.gpu:
            metadata = audit_plan(temporary, precision)
    seconds = time.perf_counter() - started
    return Engine(plan_path, metadata, plan_path.stat().st_size, seconds)


def allow_decomposing(trt: Any, network: Any) -> int:
    """Let attention operators be computed by several kernels where there is no fused one, and return their number.

    Unless it is told so, TensorRT builds no engine of such a network, for one in float32.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    boundaries = [layer for layer in layers if layer.type.name == "ATTENTION_OUTPUT"]
    for boundary in boundaries:
        boundary.__class__ = trt.IAttentionOutputLayer  # networks hand out layers as of the base class
        boundary.attention.decomposable = True
    return len(boundaries)


def audit_plan(plan: Path, precision: str) -> EngineMetadata:
    """Audit the engine itself, on the machine it is for, and write the finding into its metadata.

    Raises:
        InputError: as :func:`load_engine`.
        EnvironmentProblem: as :func:`load_engine`, or the metadata cannot be written.
    """
    engine, trt = load_engine(plan)
    inspector = engine.create_engine_inspector()
    found = audit_engine(inspector.get_engine_information(trt.LayerInformationFormat.JSON), precision)
    metadata = read_metadata(plan).model_copy(update={"audit": found})
    with staged(metadata_path(plan)) as temporary:
        temporary.write_text(metadata.model_dump_json(indent=2))
    return metadata


def use_timing_cache(config: Any, path: Path) -> Literal["new", "used"]:
    """Give a builder's ``config`` the times in ``path``; an empty cache where there are none, or of another machine."""
    if path.exists():
        cache = config.create_timing_cache(path.read_bytes())
        if cache and config.set_timing_cache(cache, ignore_mismatch=False):
            return "used"
    cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return "new"


def save_timing_cache(config: Any, path: Path) -> None:
    """Keep what a build measured in ``path``.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    cache = config.get_timing_cache()
    with staged(path) as temporary:
        temporary.write_bytes(cache.serialize())


def _network(trt: Any, builder: Any) -> Any:
    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


def _unsupported(trt: Any, builder: Any, logger: Any, onnx_path: Path) -> list[str]:
    """Return the problem with every node that this TensorRT cannot take; the parser alone stops early."""
    network = _network(trt, builder)  # a parser does not keep its network alive
    parser = trt.OnnxParser(network, logger)
    parser.supports_model_v2(onnx_path.read_bytes(), str(onnx_path))
    return _errors(parser)


def _errors(parser: Any) -> list[str]:
    """Return one clause for all nodes of one operator with the same problem."""
    nodes = defaultdict(list)
    for error in (parser.get_error(index) for index in range(parser.num_errors)):
        problem = f"{error.node_operator()}: {error.code().name}, {error.desc()}"
        nodes[problem].append(error.node_name() or f"node {error.node()}")

    return [f"{problem}, at {shorten(names, NODES_NAMED)}" for problem, names in nodes.items()]


def metadata_path(plan: Path) -> Path:
    """Return the path of a plan's metadata."""
    return plan.with_name(f"{plan.name}.json")


def read_metadata(plan: Path) -> EngineMetadata:
    """Return the metadata of a plan that is there.

    Raises:
        InputError: the plan or its metadata is missing or damaged.
    """
    try:
        if not plan.is_file():
            raise FileNotFoundError("no such file")
        return EngineMetadata.model_validate_json(metadata_path(plan).read_bytes())
    except (OSError, ValidationError) as error:
        raise input_error(
            "export-unreadable", f"{plan} cannot be read ({error})", "an engine and its metadata", "das export --trt"
        ) from None


def load_engine(plan: Path) -> tuple[Any, Any]:
    """Deserialise a plan with the package that built it. Returns the engine and that package's module.

    Raises:
        InputError: the plan or its metadata is missing or damaged.
        EnvironmentProblem: no GPU, built for another GPU, or the package is missing, or refuses the plan.
    """
    metadata, content = read_metadata(plan), plan.read_bytes()
    if not torch.cuda.is_available():
        raise environment_problem(
            "no-cuda-device", "no CUDA device", f"a GPU, for {plan}", "use another runtime, or a GPU machine"
        )
    here = capability_here()
    if here not in metadata.capabilities:
        raise environment_problem(
            "engine-for-other-gpu",
            f"{plan} is for {', '.join(metadata.capabilities)}",
            f"an engine for {here}",
            "das export --trt here",
        )
    try:
        trt = importlib.import_module(metadata.package)
    except (ImportError, OSError) as error:
        raise environment_problem(
            "tensorrt-missing",
            f"{metadata.package} cannot be used ({error})",
            f"what built {plan}",
            INSTALL[metadata.package],
        ) from None
    logger, messages = _logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(content)
    if engine is None:
        raise environment_problem(
            "engine-refused",
            f"{metadata.package} {trt.__version__} refuses {plan} ({_joined(messages)})",
            f"version {metadata.version}, which built it",
            "das export --trt again",
        )
    return engine, trt


def _logger(trt: Any) -> tuple[Any, list[str]]:
    """TensorRT's logger, and the list, emptied, that its warnings and errors end up in."""
    logger, messages = _one_logger(trt)
    messages.clear()
    return logger, messages


@cache
def _one_logger(trt: Any) -> tuple[Any, list[str]]:
    # TensorRT keeps the first logger of a process for good and ignores every later one.
    messages: list[str] = []

    class Collecting(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                messages.append(message)

    return Collecting(), messages


def _refused(code: str, target: Target, trt: Any, what: str, messages: list[str], fix: str | None = None) -> DasError:
    return environment_problem(
        code,
        f"{target.package} {trt.__version__} {what} ({_joined(messages)})",
        f"an engine of {target}",
        fix or f"a newer version: {INSTALL[target.package]} --upgrade",
    )


def _joined(messages: list[str]) -> str:
    return "; ".join(message.strip() for message in messages[-MESSAGES_SHOWN:]) or "it gives no reason"

"""ONNX to a TensorRT engine: one path for TensorRT 10 and 11 on their GPU, and for TensorRT-RTX, which needs none.

Networks are strongly typed, so the precision is the ONNX file's own. TF32 is switched off: fp32 means fp32 here, as it
does in PyTorch by default.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from compressor.errors import DasError, environment_problem, input_error
from compressor.progress import QUIET, Progress
from exporters.staging import hashes_of, staged

TENSORRT, RTX = "tensorrt", "tensorrt_rtx"
INSTALL = {TENSORRT: "pip install tensorrt", RTX: "pip install tensorrt-rtx"}
# What an engine for RTX cards is built for ahead of time: Ampere, Ada, Blackwell.
AHEAD_OF_TIME = ("SM80", "SM86", "SM89", "SM120")

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Smallest, usual and largest shape of every input."""


@dataclass(frozen=True)
class Target:
    """What an engine is built with and for.

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
        """The package and the compute capabilities: "tensorrt for 9.0"."""
        return f"{self.package} for " + ", ".join(f"{name[2:-1]}.{name[-1]}" for name in self.capabilities)


class Passport(BaseModel):
    """Where an engine comes from and where it runs; saved as JSON beside the plan.

    ``gpu`` is the name of the GPU it was built on, None when it was built ahead of time; ``capabilities`` are those it
    runs on; ``profile`` the smallest, usual and largest shape of every input; ``flags`` the builder flags that were
    set; ``messages`` TensorRT's own warnings.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    package: str
    version: str
    gpu: str | None
    capabilities: tuple[str, ...]
    onnx_sha256: Mapping[str, str]
    profile: Shapes
    strongly_typed: bool = True
    flags: tuple[str, ...]
    tf32: bool
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A plan on disk, its passport, its bytes, and the seconds it took."""

    path: Path
    passport: Passport
    bytes: int
    seconds: float


def find_target() -> Target:
    """TensorRT on a machine with a GPU, TensorRT-RTX where that is missing or where there is no GPU.

    Raises:
        EnvironmentProblem: neither can be used here.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    here = "SM{}{}".format(*torch.cuda.get_device_capability()) if gpu else None
    unusable = []
    for package in (TENSORRT, RTX) if gpu else (RTX,):
        try:
            trt = importlib.import_module(package)
        except (ImportError, OSError) as error:  # not installed, or a library of it that does not load
            unusable.append(f"{package}: {error}")
            continue
        capabilities = (here,) if here else AHEAD_OF_TIME
        if package == TENSORRT or set(capabilities) <= set(trt.ComputeCapability.__members__):
            return Target(package, capabilities, gpu)
        unusable.append(f"{package} {trt.__version__} does not build for {here}")
    raise environment_problem(
        f"no usable TensorRT ({'; '.join(unusable)})",
        f"TensorRT for {gpu}" if gpu else "TensorRT-RTX, which builds engines without a GPU",
        INSTALL[TENSORRT if gpu else RTX],
    )


def build_engine(
    onnx_path: Path, plan_path: Path, shapes: Shapes, target: Target, progress: Progress = QUIET
) -> Engine:
    """Build ``plan_path`` and its passport from an ONNX file.

    Args:
        onnx_path: with dynamic axes inside ``shapes``.
        plan_path: the engine's file; it and ``<plan>.json`` appear when they are complete.
        shapes: of every input with a dynamic axis.
        target: from :func:`find_target`.
        progress: told about the two stages.

    Raises:
        EnvironmentProblem: this TensorRT cannot parse or build the graph, or the file cannot be written.
    """
    trt = importlib.import_module(target.package)
    started = time.perf_counter()
    logger, messages = _logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # what a missing or too old driver looks like from Python
        raise _refused(target, trt, "has no driver it can use", messages) from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    with progress.stage("reading the ONNX file into TensorRT"):
        if not parser.parse_from_file(str(onnx_path)):
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            reasons = [f"{error.node_operator()}: {error.code().name}, {error.desc()}" for error in errors]
            raise _refused(target, trt, f"cannot read {onnx_path}", reasons)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if target.package == RTX:
        config.num_compute_capabilities = len(target.capabilities)
        for index, name in enumerate(target.capabilities):
            config.set_compute_capability(trt.ComputeCapability.__members__[name], index)
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    if config.add_optimization_profile(profile) < 0:
        raise _refused(target, trt, f"does not take the profile {dict(shapes)}", messages)
    with progress.stage(f"building the TensorRT engine for {target.tag}"):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused(target, trt, f"cannot build {onnx_path}", messages)
    flags = tuple(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag))
    passport = Passport(
        package=target.package,
        version=trt.__version__,
        gpu=target.gpu,
        capabilities=target.capabilities,
        onnx_sha256=hashes_of(onnx_path),
        profile=shapes,
        flags=flags,
        tf32="TF32" in flags,
        messages=tuple(messages),
    )
    with staged(plan_path) as temporary:
        temporary.write_bytes(plan)
        passport_of(temporary).write_text(passport.model_dump_json(indent=2))
    seconds = time.perf_counter() - started
    return Engine(plan_path, passport, plan_path.stat().st_size, seconds)


def passport_of(plan: Path) -> Path:
    """Where the passport of a plan is."""
    return plan.with_name(f"{plan.name}.json")


def load_engine(plan: Path) -> tuple[Any, Any]:
    """Deserialise a plan with the package that built it. Returns the engine and that package's module.

    Raises:
        InputError: the plan or its passport is missing or damaged.
        EnvironmentProblem: built for another GPU, or the package is missing, or refuses the plan.
    """
    try:
        passport = Passport.model_validate_json(passport_of(plan).read_bytes())
        content = plan.read_bytes()
    except (OSError, ValidationError) as error:
        raise input_error(
            f"{plan} cannot be read ({error})", "an engine and its passport", "das export --trt"
        ) from None
    here = "SM{}{}".format(*torch.cuda.get_device_capability())
    if here not in passport.capabilities:
        raise environment_problem(
            f"{plan} is for {', '.join(passport.capabilities)}", f"an engine for {here}", "das export --trt here"
        )
    try:
        trt = importlib.import_module(passport.package)
    except (ImportError, OSError) as error:
        raise environment_problem(
            f"{passport.package} cannot be used ({error})", f"what built {plan}", INSTALL[passport.package]
        ) from None
    logger, messages = _logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(content)
    if engine is None:
        raise environment_problem(
            f"{passport.package} {trt.__version__} refuses {plan} ({_joined(messages)})",
            f"version {passport.version}, which built it",
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


def _refused(target: Target, trt: Any, what: str, messages: list[str]) -> DasError:
    return environment_problem(
        f"{target.package} {trt.__version__} {what} ({_joined(messages)})",
        f"an engine of {target}",
        f"a newer version: {INSTALL[target.package]} --upgrade",
    )


def _joined(messages: list[str]) -> str:
    return "; ".join(message.strip() for message in messages[-4:]) or "it gives no reason"

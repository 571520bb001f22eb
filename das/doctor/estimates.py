"""Estimates of the memory and disk that compressing and exporting a model takes, from its sizes alone.

They are upper bounds in what they count: as if every layer that may go went, and nothing became smaller. Not in them
are samples kept in memory, of which das keeps no more than fit, and what Python and its libraries take.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.sizes import check_sizes
from compressor.costs.parts import weight_bytes
from compressor.data.splits import FALSE_TEXTS
from compressor.families import FAMILIES
from compressor.models.steps import StepModel, split_at_candidates, steps_of
from compressor.models.surgery import new_skip_adapter
from compressor.saved_run.run_contents import SAMPLE_BYTES
from compressor.saved_run.run_folder import is_run, open_run
from compressor.saved_run.run_places import LATEST, ROOT
from compressor.search.select_layers import CALIBRATION_SAMPLES
from compressor.settings import Settings
from compressor.tasks import TASKS
from compressor.training.loss_in_parts import count_kept_bytes, most_samples
from das.doctor.health import Need, Needs

BATCH_SIZE = int(Settings.model_fields["batch_size"].default)
GRADIENT_AND_MOMENTS = 3  # numbers that training keeps for each parameter: Adam has two
CALIBRATION_COPIES = 4  # of the calibration samples' streams: as read, and in front of and behind a round
EXPORT_COPIES = 4  # of the weights: the model, its traced graph, ONNX Runtime's own and those it packs for its products
OVERHEAD = 1.25  # on activations, for what comes and goes: measured in training steps of ViLT-B/32 on a CPU
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class ModelOutline:
    """A model on the meta device, of a run or of a checkpoint, and whether das could compress it for its task."""

    path: Path
    model: StepModel
    is_run: bool


@dataclass(frozen=True)
class Free:
    """Bytes that can be had: of memory, of the GPU's (None without one), and of the disk of a folder."""

    memory: int
    gpu: int | None
    disk: int


def estimate(path: Path) -> Needs:
    """Estimate what compressing and exporting a checkpoint, or exporting a run, takes here.

    Raises:
        InputError: neither of them, or one that cannot be read.
    """
    subject = outline_model(path)
    model, free = subject.model, measure_free(subject.path if subject.is_run else Path())
    stages = estimate_export(subject, free)
    if not subject.is_run and model.task in TASKS:
        stages = (*estimate_compress(subject, free), *stages)
    return Needs(
        subject=str(path),
        family=model.family,
        task=model.task,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        weights=weight_bytes(model),
        stages=stages,
    )


def outline_model(path: Path) -> ModelOutline:
    """Build the model of a run folder or a checkpoint on the meta device, without its weights.

    Raises:
        InputError: neither of them, or one that cannot be read.
    """
    if is_run(path):
        run = open_run(path)
        return ModelOutline(run.path, run.outline(), True)
    recognised = recognise(path)
    task = next(iter((*recognised.tasks, *recognised.heads, *recognised.family.heads)))
    task = task if task in recognised.family.heads else next(iter(recognised.family.heads))
    check_sizes(recognised, task, None, None)
    dims = recognised.format.read_dims(recognised.state, recognised.checkpoint.config, task)
    with torch.device("meta"):
        return ModelOutline(path, recognised.family.build(dims, task), False)


def measure_free(folder: Path) -> Free:
    """Return the free memory and disk, with the libraries already loaded and within a container's limit."""
    gpu = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    memory = int(min(psutil.virtual_memory().available, _container_free()))
    return Free(memory, gpu, shutil.disk_usage(folder).free)


def _container_free() -> float:
    try:
        limit, usage = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return float(limit) - float(usage)  # "max" where there is no limit
    except (OSError, ValueError):
        return float("inf")


def estimate_compress(subject: ModelOutline, free: Free, batch_size: int = BATCH_SIZE) -> tuple[Need, ...]:
    """Estimate ``das compress``, by default with its defaults: fitting adapters, training them, and the run folder."""
    model, weights = subject.model, weight_bytes(subject.model)
    candidates, inputs = find_candidates(model), make_training_inputs(model)
    adapters = sum(weight_bytes(new_skip_adapter(model, name)) for name in candidates)
    streams, activations = measure_training(model, candidates, inputs)
    sample = round(OVERHEAD * activations)
    device, memory = ("memory", free.memory) if free.gpu is None else ("GPU memory", free.gpu)
    command = f"das compress {subject.path} --task {model.task} --skip {min(8, max(1, len(candidates) - 1))}"
    state = GRADIENT_AND_MOMENTS * adapters
    fitting = {"full model": weights, "calibration samples": CALIBRATION_COPIES * CALIBRATION_SAMPLES * streams}
    fixed = {"full and slim model": 2 * weights + adapters, "gradients and moments of adapters": state}
    part = min(batch_size, most_samples(activations))
    training = {**fixed, f"activations of {part} samples": part * sample}
    disk = {"slim model": weights, "state for --resume, old and new": 2 * state, "samples": SAMPLE_BYTES}
    batch = (memory - sum(fixed.values())) // max(1, sample)
    smaller = f"{command} --batch-size {batch}" if batch > 0 else f"{command} --recover closed-form"
    return (
        _need("compress, fitting adapters", device, fitting, memory, f"{command} {_smaller_inputs(model)}"),
        _need("compress, training adapters", device, training, memory, smaller),
        _need(
            "compress, the run folder", "disk", disk, free.disk, f"{command} --out FOLDER, on a disk with more space"
        ),
    )


def _smaller_inputs(model: StepModel) -> str:
    """Return the option that halves images, or texts where there are none."""
    dims = model.dims
    if not FAMILIES[model.family].names_of("image"):
        return f"--text-length {max(1, dims.text_length // 2)}"
    return f"--image-size {max(1, dims.image_size // (2 * dims.patch)) * dims.patch}"


def estimate_export(subject: ModelOutline, free: Free) -> tuple[Need, ...]:
    """Estimate ``das export --onnx`` in fp32 of the model: an upper bound for any slim model made of it."""
    weights = weight_bytes(subject.model)
    memory = {f"{EXPORT_COPIES} copies of the weights": EXPORT_COPIES * weights}
    disk = {"ONNX file, old and new": 2 * weights}
    run = subject.path if subject.is_run else ROOT / LATEST
    return (
        _need("export --onnx", "memory", memory, free.memory, f"copy {run} to a larger machine, and das export there"),
        _need("export --onnx", "disk", disk, free.disk, f"copy {run} to a disk with more space, and das export there"),
    )


def _need(stage: str, resource: str, parts: Mapping[str, int], free: int, fix: str) -> Need:
    need = Need(stage=stage, resource=resource, parts=parts, free=free)
    return need if need.enough else need.model_copy(update={"fix": fix})


def find_candidates(model: StepModel) -> tuple[str, ...]:
    """Return the layers of the family's first scope, the default candidates of a search."""
    pools = next(iter(FAMILIES[model.family].scopes.values()))
    return tuple(step.name for step in steps_of(model.rounds) if step.pool in pools)


def make_training_inputs(model: StepModel) -> dict[str, Tensor]:
    """Return one training sample on the meta device; in retrieval a caption with its negatives."""
    family = FAMILIES[model.family]
    inputs = family.example_inputs(model.dims)
    texts = 1 + FALSE_TEXTS if TASKS[model.task].ranked else 1
    repeated = {name: inputs[name].expand(texts, *inputs[name].shape[1:]) for name in family.names_of("text")}
    return {name: value.to("meta") for name, value in (inputs | repeated).items()}


class _OneKernel(TorchFunctionMode):
    """Attention by the kernel that stores no scores, as on CPUs and GPUs; the meta device would choose another."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *args[:3], attn_mask=kwargs.get("attn_mask")
            )[0]
        return func(*args, **kwargs)


def measure_training(model: StepModel, candidates: tuple[str, ...], inputs: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return the bytes of one sample: its streams before the first candidate, and the activations of a backward pass.

    Nothing but adapters is trained: weights stay as they are, and are not counted.

    Args:
        model: on the meta device, or any other.
        candidates: layers that may be skipped.
        inputs: one sample on the same device.
    """
    model.eval().requires_grad_(False)
    fixed, varying = split_at_candidates(model.rounds, candidates)
    light = tuple(takewhile(lambda round_: not any(step.name in candidates for step in round_), varying))
    with torch.no_grad():
        streams = model.advance(model.prologue(**inputs), fixed)
        met = model.advance(streams, light)
    changing = {step.stream for step in steps_of(varying) if step.name in candidates}
    live = {name: x.detach().requires_grad_(name in changing) for name, x in met.items()}
    with _OneKernel():
        kept = count_kept_bytes(model, lambda: model.epilogue(model.advance(live, varying[len(light) :])))
    return sum(x.nbytes for x in streams.values()), kept

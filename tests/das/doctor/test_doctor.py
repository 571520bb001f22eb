"""``das doctor``: what is here, what stands in the way, and whether a model fits."""

import json
from importlib.metadata import version

import pytest
import torch

from compressor.checkpoints.build import load_checkpoint
from compressor.families import FAMILIES
from compressor.training.loss_in_parts import KEPT_BYTES
from das.demo.checkpoints import ASSETS
from das.demo.demos import SHIPPED
from das.doctor import machine as health
from das.doctor.check import check_health
from das.doctor.estimates import (
    BATCH_SIZE,
    Free,
    ModelOutline,
    estimate_compress,
    estimate_export,
    find_candidates,
    make_training_inputs,
    measure_training,
    outline_model,
)
from exporters.gpu import gpus_of
from exporters.runtimes.onnxruntime import cuda_conflict, probe_provider
from tests.support import tiny_models as tiny
from tests.support.command_line import das

CHECKPOINT = ASSETS / SHIPPED.checkpoint
PLENTY = Free(1 << 60, None, 1 << 60)


def items(**options):
    return {item.name: item for item in check_health(**options).items}


def test_providers_are_run():
    found = items()
    assert found["CPUExecutionProvider"].found == "ran a graph"
    listed_only = probe_provider("CUDAExecutionProvider")
    assert listed_only.ok == torch.cuda.is_available() or "das-toolkit[gpu]" in listed_only.fix


def test_everything_that_is_missing_has_a_fix():
    assert all(item.ok or item.fix for item in check_health().items)
    assert items()["torch.compile"].ok or "g++" in items()["torch.compile"].fix


def test_versions_outside_the_declared_range_are_named(monkeypatch):
    changed = {"torch": "2.8.0", "pyarrow": "16.1.0"}
    monkeypatch.setattr(health, "version", lambda name: changed.get(name) or version(name))
    found = items()
    assert (found["torch"].ok, found["torch"].found) == (False, "2.8.0, not >=2.9")
    assert found["torch"].fix == "pip install 'torch>=2.9'"
    assert not found["pyarrow"].ok and "rich" not in found


def test_without_a_package_that_the_rest_needs_it_still_answers(monkeypatch):
    def missing(name):
        if name == "transformers":
            raise health.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(health, "version", missing)
    found = items()
    assert (found["transformers"].found, found["transformers"].fix) == ("not installed", "pip install das-toolkit")
    assert found["torch"].ok and "CUDA" not in found


def test_cuda_of_two_major_versions_is_a_conflict():
    (found,) = cuda_conflict("12.8", "13.0")
    assert not found.ok and "CUDA 12.8" in found.found and "CUDA 13" in found.found
    for agreeing in (("13.0", "13.1"), (None, "13.0"), ("12.8", None), ("12.8", "")):
        assert not list(cuda_conflict(*agreeing))


def test_gpus_as_the_driver_lists_them():
    answer = "NVIDIA H100 80GB HBM3, 580.65.06, 9.0, 81559, 80990\n"
    assert gpus_of(answer) == (
        "NVIDIA H100 80GB HBM3, driver 580.65.06, compute capability 9.0, 80990 of 81559 MiB free",
    )
    assert gpus_of("") == gpus_of("No devices were found\n") == ()


def subject(family, task):
    model = tiny.model(family, task)
    with torch.device("meta"):
        return ModelOutline(CHECKPOINT, FAMILIES[family].build(model.dims, task).eval(), False)


@pytest.mark.parametrize(("family", "task"), [("meter", "nlvr2"), ("vilt", "irtr"), ("roberta", "text-classification")])
def test_activations_are_what_pytorch_keeps(family, task):
    """The same bytes as a real pass on the CPU saves, with the kernels that it chooses itself."""
    on_meta = subject(family, task).model
    names = find_candidates(on_meta)
    streams, kept = measure_training(on_meta, names, make_training_inputs(on_meta))
    real = tiny.model(family, task).requires_grad_(False)
    inputs = {name: torch.ones(x.shape, dtype=x.dtype) for name, x in make_training_inputs(on_meta).items()}
    weights = {x.untyped_storage().data_ptr() for x in (*real.parameters(), *real.buffers())}
    saved = {}

    def keep(x):
        if x.untyped_storage().data_ptr() not in weights:
            saved[x.untyped_storage().data_ptr()] = x
        return x

    start = next(number for number, round_ in enumerate(real.rounds) if round_[0].name in names)
    encoders = start - any(step.light for step in real.rounds[start - 1])
    with torch.no_grad():
        seen = real.advance(real.prologue(**inputs), real.rounds[:encoders])
        met = real.advance(seen, real.rounds[encoders:start])
    for step in real.rounds[start]:
        met[step.stream] = met[step.stream].clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        real.epilogue(real.advance(met, real.rounds[start:])).sum().backward()
    assert sum(x.nbytes for x in seen.values()) == streams
    assert sum(x.untyped_storage().nbytes() for x in saved.values()) == pytest.approx(kept, rel=0.005)


def test_the_estimates_follow_their_formulas():
    found = outline_model(CHECKPOINT)
    full = load_checkpoint(CHECKPOINT).model
    dims, layers = full.dims, 2 * full.dims.fusion_layers
    weights = sum(x.nbytes for x in (*full.parameters(), *full.buffers()))
    d, b = dims.hidden, round(dims.hidden * 3 / 8)
    adapters = 4 * layers * (2 * d + 2 * d * b + b + d)
    streams, kept = measure_training(found.model, find_candidates(found.model), make_training_inputs(found.model))
    text_and_image = 4 * d * (dims.text_length + dims.image_tokens)
    assert text_and_image <= streams <= text_and_image + 4 * dims.text_length
    fitting, training, disk = estimate_compress(found, PLENTY)
    assert fitting.parts == {"full model": weights, "calibration samples": 4 * 512 * streams}
    assert training.total == 2 * weights + adapters + 3 * adapters + BATCH_SIZE * round(1.25 * kept)
    assert disk.total == weights + 2 * 3 * adapters + (32 << 20)
    memory, file = estimate_export(found, PLENTY)
    assert (memory.total, file.total) == (4 * weights, 2 * weights)
    assert all(need.enough and need.fix is None for need in (fitting, training, disk, memory, file))


def test_a_batch_that_fits_is_named():
    found = outline_model(CHECKPOINT)
    _, training, _ = estimate_compress(found, PLENTY)
    per_sample = training.parts[f"activations of {BATCH_SIZE} samples"] // BATCH_SIZE
    fixed = training.total - BATCH_SIZE * per_sample
    _, short, _ = estimate_compress(found, Free(fixed + 7 * per_sample + 1, None, 1 << 60))
    assert not short.enough
    assert short.fix == f"das compress {CHECKPOINT} --task vqa --skip 8 --batch-size 7"
    fitting, none, disk = estimate_compress(found, Free(1000, None, 0))
    assert fitting.fix.endswith(f"--image-size {found.model.dims.image_size // 2 // 12 * 12}")
    assert none.fix.endswith("--recover closed-form")
    assert "--out FOLDER" in disk.fix


def test_no_more_activations_are_counted_than_a_training_step_keeps():
    found = outline_model(CHECKPOINT)
    _, kept = measure_training(found.model, find_candidates(found.model), make_training_inputs(found.model))
    most = KEPT_BYTES // kept
    for batch_size in (most - 1, most, most + 1, 10 * most):
        _, training, _ = estimate_compress(found, PLENTY, batch_size)
        counted = min(batch_size, most)
        assert training.parts[f"activations of {counted} samples"] == counted * round(1.25 * kept)


def test_texts_are_shortened_where_there_are_no_images():
    fitting, *_ = estimate_compress(subject("bert", "text-classification"), Free(1000, None, 0))
    assert fitting.fix.endswith(f"--text-length {tiny.LENGTH // 2}")


def test_a_gpu_is_where_compressing_happens():
    found = outline_model(CHECKPOINT)
    fitting, training, disk = estimate_compress(found, Free(1 << 60, 0, 1 << 60))
    assert (fitting.resource, training.resource, disk.resource) == ("GPU memory", "GPU memory", "disk")
    assert not training.enough and disk.enough


def test_das_doctor_estimates_for_a_checkpoint():
    found = json.loads(das("doctor", CHECKPOINT, "--json").stdout)["needs"]
    assert (found["family"], found["task"]) == ("meter", "vqa")
    assert [need["stage"].split(",")[0] for need in found["stages"]] == ["compress"] * 3 + ["export --onnx"] * 2
    assert all(need["enough"] for need in found["stages"])
    shown = das("doctor", CHECKPOINT)
    assert shown.exit_code == 0
    assert "Estimates, not measured" in shown.stdout and "enough" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_das_doctor_estimates_for_a_run(run_here):
    found = json.loads(das("doctor", "runs/latest", "--json").stdout)["needs"]
    assert {need["stage"] for need in found["stages"]} == {"export --onnx"}
    saved = (run_here / "model.safetensors").stat().st_size
    assert found["weights"] == pytest.approx(saved, rel=0.05)


def test_das_doctor_refuses_what_it_cannot_read(tmp_path):
    (tmp_path / "broken.ckpt").write_bytes(b"PK not a checkpoint")
    for path in (tmp_path / "broken.ckpt", tmp_path / "absent.ckpt", tmp_path):
        assert das("doctor", path).exit_code == 3


def test_nothing_is_estimated_without_a_model():
    assert json.loads(das("doctor", "--json").stdout)["needs"] is None

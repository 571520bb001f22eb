"""CUDA graphs: no model waits for the GPU or copies to it in its forward pass; on a GPU, replays answer as calls do."""

import copy
import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from compressor.models.trims.simplify import trim
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime, obstacles
from exporters.runtimes.cuda_graphs import NotCaptured, capture
from exporters.runtimes.runtime import ModelSource
from exporters.runtimes.torch_runner import TorchRunner
from profiles.machine.kernels import Launch, describe_launches, time_kernels
from tests.support import tiny_models as tiny
from tests.support.marks import needs_gpu
from tests.support.tiny_exports import full, full_onnx, inputs_of, samples

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 1e-1}  # shares of the largest logit
EVERY_MODEL = [pytest.param(*key, id="-".join(key)) for key in tiny.SIZES]


class Copies(TorchDispatchMode):
    """Notes what goes from one device to another: on a GPU a copy that its call waits for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        places = {x.device.type for x in tree_flatten((args, kwargs, out))[0] if isinstance(x, torch.Tensor) and x.ndim}
        if len(places) > 1:
            self.found.append(str(func))
        return out


@pytest.mark.parametrize(("family", "task"), EVERY_MODEL)
def test_no_model_waits_for_the_gpu(family, task):
    """On the meta device, where nothing has values: .item(), a branch or an index that depends on one raises."""
    model = tiny.model(family, task, shallow=True).eval()
    inputs = {name: value.to("meta") for name, value in inputs_of(model).items()}
    for subject in (model, trim(model)):
        moved = copy.deepcopy(subject).to("meta")
        with torch.no_grad(), Copies() as copies:
            out = moved(**inputs)
        assert out.device.type == "meta"
        assert copies.found == []


def test_a_copy_between_devices_is_seen():
    with Copies() as copies:
        torch.ones(2).to("meta")
    assert copies.found


def test_a_profile_says_how_kernels_are_launched_and_where_launching_is_what_was_timed():
    launches = {
        "full": Launch(how="as a CUDA graph, which took 40 MB", kernels_ms=2.5),
        "slim": Launch(how="without a CUDA graph (it waits)", kernels_ms=2.0),
        "other": Launch(how="", kernels_ms=None),
    }
    assert describe_launches(launches, {"full": 2.77, "slim": 12.1, "other": 5.0}) == (
        "full as a CUDA graph, which took 40 MB; slim without a CUDA graph (it waits); "
        "launch-bound: in slim the GPU is at work for 2.00 of 12.1 ms"
    )


def answers_alike(found, expected, share=1e-3):
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) <= share * max(1.0, float(expected.abs().max()))


@needs_gpu
@pytest.mark.parametrize(("family", "task"), EVERY_MODEL)
def test_every_family_is_captured_in_pytorch_in_every_precision(family, task):
    model, torch_runtime = tiny.model(family, task, shallow=True).eval(), find_runtime("torch")
    inputs = inputs_of(model)
    with torch.no_grad():
        expected = model(**inputs)
    for subject, precision in itertools.product((model, trim(model)), TOLERANCES):
        source = ModelSource(lambda subject=subject: copy.deepcopy(subject), precision=PRECISIONS[precision])
        with torch_runtime.open(source, "cuda") as runner:
            bound = runner.bind(inputs)
            assert bound.launch.startswith("as a CUDA graph")
            bound()
            (found,) = bound.fetch().values()
            (once,) = runner.outputs(inputs).values()
        answers_alike(found, once, 1e-2)
        answers_alike(found, expected, TOLERANCES[precision])


@needs_gpu
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_graphs_side_by_side_stay_apart(runtime):
    backend = find_runtime(runtime)
    if why := obstacles("cuda").get(runtime):
        pytest.skip(why.found)
    one, three = {name: rows[:1] for name, rows in samples().items()}, samples()
    with torch.no_grad():
        expected = full()(**three)
    with backend.open(ModelSource(lambda: copy.deepcopy(full()), full_onnx()), "cuda") as runner:
        first, second = runner.bind(one), runner.bind(three)
        assert [bound.launch.partition(",")[0] for bound in (first, second)] == ["as a CUDA graph"] * 2
        for _ in range(2):
            first()
            second()
        answers_alike(first.fetch()["logits"], expected[:1])
        answers_alike(second.fetch()["logits"], expected)
        answers_alike(runner.run(three), expected)
        assert time_kernels(second) is None or 0 < time_kernels(second) < 1e3


@needs_gpu
def test_a_compiled_call_is_captured():
    class Bent(torch.nn.Module):
        def forward(self, x):
            return torch.tanh(x) * 2

    with TorchRunner(Bent(), "cuda", compiled=True, inputs=("x",)) as runner:
        bound = runner.bind({"x": torch.ones(3)})
        assert bound.launch.startswith("as a CUDA graph")
        bound()
        answers_alike(bound.fetch()["output"], 2 * torch.ones(3).tanh())


@needs_gpu
def test_a_call_that_waits_for_the_gpu_is_made_without_a_graph_and_the_profile_says_so():
    class Waits(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.sum().item() > 0 else x

    with TorchRunner(Waits(), "cuda", inputs=("x",)) as runner:
        bound = runner.bind({"x": torch.ones(3)})
        assert bound.launch.startswith("without a CUDA graph (")
        bound()
        assert bound.fetch()["output"].tolist() == [2, 2, 2]
    still = torch.ones(4, device="cuda")
    assert capture(lambda: still * 3).output.tolist() == [3] * 4


@needs_gpu
def test_a_replay_that_answers_otherwise_is_refused():
    calls = []

    def call():
        calls.append(None)
        return torch.full((2,), float(len(calls)), device="cuda")  # the captured call is the last

    with pytest.raises(NotCaptured, match="otherwise"):
        capture(call)

"""PyTorch in half precision: every family answers as it does in fp32, and a machine without the products refuses."""

import pytest
import torch

from compressor.device import missing_products
from compressor.models.trims.simplify import trim
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import RUNTIMES, find_runtime
from exporters.runtimes.runtime import ModelSource
from tests.support import tiny_models as tiny
from tests.support.tiny_exports import inputs_of

FAMILIES_WITH_TASKS = [pytest.param(*key, id="-".join(key)) for key in tiny.SIZES]


@pytest.mark.parametrize(("family", "task"), FAMILIES_WITH_TASKS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_every_family_answers_in_half_precision_as_in_fp32(family, task, precision):
    model = tiny.model(family, task, shallow=True).eval()
    inputs = inputs_of(model)
    torch_runtime, chosen = find_runtime("torch"), PRECISIONS[precision]
    for subject in (model, trim(model)):
        with torch.no_grad():
            expected = subject(**inputs)
        with torch_runtime.open(ModelSource(lambda model=subject: model, precision=chosen), "cpu") as runner:
            (found,) = runner.outputs(inputs).values()
        assert found.dtype == torch.float32
        allowed = {"bf16": 0.05, "fp16": 0.005}[precision] * max(1.0, float(expected.abs().max()))
        assert float((found - expected).abs().max()) <= allowed
        assert not torch.equal(found, expected)  # it was really rounded
        assert {parameter.dtype for parameter in subject.parameters()} == {torch.float32}  # and the model was not


def test_what_the_machine_cannot_multiply_is_refused_with_the_reason(monkeypatch):
    assert missing_products(torch.float32, "cpu") == ""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    for name in ("torch", "compile"):
        runtime = find_runtime(name)
        assert runtime.casts == ("fp16", "bf16")
        assert runtime.refuses(PRECISIONS["bf16"], "cpu") == ""
        assert "no fp16 products" in runtime.refuses(PRECISIONS["fp16"], "cpu")
        assert "fp32, fp16, bf16" in runtime.refuses(PRECISIONS["int8"], "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert "avx512_bf16" in find_runtime("torch").refuses(PRECISIONS["bf16"], "cpu")


def test_only_runtimes_without_files_make_precisions_themselves():
    assert {runtime.name for runtime in RUNTIMES if runtime.casts and not runtime.suffix} == {"torch", "compile"}
    assert all(set(runtime.casts) <= set(runtime.precisions) for runtime in RUNTIMES)

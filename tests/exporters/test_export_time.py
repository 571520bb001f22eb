"""How long an export is expected to take: counted right, said at its start, and with the cheaper way."""

import re
import shutil

import pytest

from compressor.models.surgery import make_plan, remove_layers
from exporters import export_time
from exporters.checks.validate import CHECKED_SIZES
from exporters.export_time import expect_export
from exporters.graph.precision import PRECISIONS
from exporters.request import Request
from exporters.runtimes import find_runtime
from tests.support import tiny_exports as exported
from tests.support.command_line import das

TRIED = sum(CHECKED_SIZES[:-1])


class Samples:
    """Stands for a reference of many samples whose answers are known, or are not."""

    samples = 200

    def __init__(self, slim):
        self.slim = slim


def expected(folder, precision, slim=(), **options):
    request = Request(exported.full(), exported.samples(), folder, Samples(slim), precision=PRECISIONS[precision])
    return expect_export(find_runtime("onnx").artifacts(request), request, **options)


@pytest.fixture
def seconds(monkeypatch):
    """A sample takes a second in PyTorch and half of one in ONNX Runtime, a layer ten to be traced."""
    monkeypatch.setattr(export_time, "_time_sample", lambda request: 1.0)
    monkeypatch.setattr(export_time, "_time_layer", lambda request: (10.0, 0.5))
    monkeypatch.setattr(export_time, "ROUNDED", export_time.weight_bytes(exported.full()) / 30)


def test_layers_and_samples_are_counted(seconds, tmp_path):
    layers = len(exported.full().layers)
    fp32 = expected(tmp_path, "fp32")
    comparing = 0.5 * (TRIED + 200) + TRIED
    assert fp32.seconds == {"tracing": 10 * layers, "comparing with PyTorch": comparing}
    assert fp32.cheaper == {}
    assert expected(tmp_path, "fp32", slim=None).seconds["comparing with PyTorch"] == comparing + 200
    int8 = expected(tmp_path, "int8")  # made from fp32, which is made and certified first
    assert int8.seconds == {
        "tracing": 10 * layers,
        "rounding to int8": pytest.approx(30),
        "comparing with PyTorch": 2 * comparing,
    }
    assert int8.cheaper == {"--precision fp32": pytest.approx(fp32.total)}


def test_a_file_that_is_there_is_compared_only(seconds, tmp_path):
    (tmp_path / "model.onnx").touch()
    few = len(exported.samples()["input_ids"])
    found = expected(tmp_path, "int8").seconds
    assert found["tracing"] == 0
    assert found["comparing with PyTorch"] == 1.5 * few + 0.5 * (TRIED + 200) + TRIED


def test_where_everything_is_short_no_layer_is_traced(seconds, tmp_path, monkeypatch):
    monkeypatch.setattr(export_time, "_time_layer", lambda request: pytest.fail("a layer was traced"))
    monkeypatch.setattr(export_time, "_time_sample", lambda request: 0.001)
    assert expected(tmp_path, "fp32", least=60.0) is None


def test_a_model_without_layers_takes_no_time_to_trace_them(tmp_path):
    bare = remove_layers(exported.full(), make_plan(exported.full(), exported.full().layers))
    request = Request(bare, exported.samples(), tmp_path)
    found = expect_export(find_runtime("onnx").artifacts(request), request)
    assert found.seconds["tracing"] == 0 < found.seconds["comparing with PyTorch"]


def test_it_is_said_before_anything_is_exported(shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr("exporters.export.LONG", 0.0)
    run = shutil.copytree(shared_run.path, tmp_path / "run")
    done = das("export", run, "--onnx")
    assert done.exit_code == 0, done.stderr
    told = r"Timing a few samples ...\n(.*: done in .*\n)?about \d+ s on this machine.*\nexporting to ONNX"
    assert re.search(told, done.stderr), done.stderr

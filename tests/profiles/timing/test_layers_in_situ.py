"""Layer times: every part of a model has an entry, in both runtimes, and all of them make the whole."""

import io
import time
from functools import cache

import pytest
from rich.console import Console
from torch import nn

from benchmarks.runtimes import layers as benchmark
from compressor.costs.macs import count_macs
from compressor.costs.parts import BRIDGES, HEAD, PROLOGUE, SKIP
from compressor.models.steps import steps_of
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from das.render.rich_tables import draw
from exporters.graph.onnx import export_onnx
from exporters.runtimes import RUNTIMES, find_runtime
from exporters.runtimes.runtime import SHARED, ModelSource
from exporters.runtimes.torch_runner import time_blocks
from profiles.reports.layer_tables import predict_gains, tabulate_gains, tabulate_layers, tabulate_sums
from profiles.timing import layers_in_situ as layers
from profiles.timing.layer_times import OVERHEAD, LayerTime, LayerTimes
from profiles.timing.layers_in_situ import count_work, explain_unseen, time_layers
from profiles.timing.roofline import Peaks
from profiles.timing.sample_batches import make_batch
from tests.support import tiny_models as tiny
from tests.support.tiny_exports import SKIPPED, full, full_onnx, samples, slim, slim_onnx

PEAKS = Peaks(runtime="torch", gflops=100, gbs=10)


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    """Subjects and inputs: METER, full and slim, and a text model, slim."""

    def meter():
        subjects = {
            "full": ModelSource(full, full_onnx()),
            "slim": ModelSource(lambda: trim(slim()), slim_onnx()),
        }
        return subjects, make_batch(samples(), 1)

    def bert():
        model = tiny.model("bert", "text-classification", shallow=True)
        model = trim(remove_layers(model, make_plan(model, ["En1"])))
        inputs = {name: x for name, x in tiny.batch(model).items() if name != "targets"}
        path = tmp_path_factory.mktemp("bert") / "model.onnx"
        export_onnx(model, path, inputs)
        return {"slim": ModelSource(lambda: model, path)}, inputs

    return cache(lambda name: {"meter": meter, "bert": bert}[name]())


@pytest.fixture(scope="module")
def times_of(case_of):
    @cache
    def measured(name, runtime):
        subjects, inputs = case_of(name)
        work = {which: count_work(subject.load(), inputs) for which, subject in subjects.items()}
        found = time_layers(runtime, subjects, work, inputs, device="cpu", threads=1, seconds=0)
        return {times.which: times for times in found}

    return measured


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize(("name", "which"), [("meter", "full"), ("meter", "slim"), ("bert", "slim")])
def test_every_part_has_an_entry_and_all_of_them_make_the_whole(case_of, times_of, name, which, runtime):
    model, times = case_of(name)[0][which].load(), times_of(name, runtime)[which]
    entries = {layer.name: layer for layer in times.layers}
    steps = {step.name: step for step in steps_of(model.rounds)}
    assert [layer for layer in entries if layer != SHARED] == [PROLOGUE, *steps, HEAD, find_runtime(runtime).between]
    for step in steps.values():
        assert entries[step.name].pool == (SKIP if step.skipped else step.pool or BRIDGES)
    assert all(entries[layer].ms > 0 for layer in (PROLOGUE, *model.layers, *model.skipped, HEAD))
    assert sum(layer.ms for layer in times.layers) == pytest.approx(times.whole_ms)
    assert times.seen_ms + entries[find_runtime(runtime).between].ms == pytest.approx(times.whole_ms)
    assert (times.runtime, entries[find_runtime(runtime).between].pool) == (runtime, OVERHEAD)


def test_hooks_are_gone(times_of):
    model = full()
    times_of("meter", "torch")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_slow_layer_is_told_from_the_others(case_of):
    class Slow(nn.Module):
        def forward(self, text, *others):
            time.sleep(0.02)
            return text

    inputs = case_of("meter")[1]
    model = remove_layers(full(), make_plan(full(), SKIPPED))
    model.blocks["FL2"] = Slow()
    taken = time_blocks(model, lambda: model(**inputs), "cpu")
    assert taken["FL2"] >= 20
    assert max(taken, key=taken.get) == "FL2"


def test_warm_up_does_not_count(monkeypatch):
    monkeypatch.setattr(layers, "LEAST_TURNS", 2)
    order = []
    turns = layers._take_turns([lambda: order.append("a"), lambda: order.append("b")], 0, layers.QUIET, "")
    assert turns == 2
    assert order == ["a", "b"] * layers.WARM_UP_CALLS + ["a", "b", "b", "a"]
    assert layers._medians({"FL0": [100, 100, 1, 3]}, turns) == {"FL0": 2}


def test_a_long_measurement_ends():
    assert layers._take_turns([lambda: None], 1e9, layers.QUIET, "") == layers.MOST_TURNS


def test_work_is_counted_for_each_part(case_of):
    subjects, inputs = case_of("meter")
    for subject in subjects.values():
        model = subject.load()
        macs, work = count_macs(model, inputs), {part.name: part for part in count_work(model, inputs)}
        assert sum(part.macs for part in work.values()) == macs.total
        assert {name: work[name].macs for name in macs.by_step} == macs.by_step


def test_bytes_are_weights_and_streams_once(case_of):
    model, inputs = full(), case_of("meter")[1]
    work, dims = {part.name: part.bytes for part in count_work(model, inputs)}, model.dims
    text, image = 4 * dims.text_length * dims.hidden, 4 * dims.image_tokens * dims.hidden
    mask = 4 * dims.text_length
    weights = {name: 4 * sum(x.numel() for x in block.parameters()) for name, block in model.blocks.items()}
    assert work["FL0"] == weights["FL0"] + 2 * text + image + mask  # METER has no image mask
    assert work["FV0"] == weights["FV0"] + 2 * image + text + mask
    assert work["VEn0"] == weights["VEn0"] + 2 * 4 * dims.image_tokens * dims.vision_width
    head = 4 * sum(x.numel() for x in model.epilogue.parameters())
    assert work[HEAD] == head + 4 * (2 * dims.hidden + dims.classes)
    tables = ("embeddings.weight", "position_embedding.weight")  # only rows are read, and written
    prologue = sum(x.nbytes for name, x in model.prologue.named_parameters() if not name.endswith(tables))
    read = sum(x.nbytes for x in inputs.values())
    assert work[PROLOGUE] == prologue + read + text + 4 * dims.image_tokens * dims.vision_width + mask


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_cannot_be_seen_has_a_reason(device):
    assert [runtime.name for runtime in RUNTIMES if explain_unseen(runtime, device) is None] == (
        ["torch", "onnxruntime", "openvino"] if device == "cpu" else ["torch"]
    )
    assert explain_unseen(find_runtime("compile"), device) == "layers are seen in torch, onnxruntime, openvino only"


def made(which, whole, **ms):
    """Times of layers with 1,000 MACs for each millisecond that the full model takes, adapters with 100 MACs."""
    pools = {"prologue": PROLOGUE, "head": HEAD}
    entries = [
        LayerTime(
            name=name,
            pool=SKIP if ms[name] < 1 else pools.get(name, "fusion-language"),
            ms=ms[name],
            macs=100 if ms[name] < 1 else 1000,
            bytes=10,
        )
        for name in ms
    ]
    rest = whole - sum(ms.values())
    entries.append(LayerTime(name="between layers", pool=OVERHEAD, ms=rest, macs=0))
    return LayerTimes(runtime="torch", which=which, whole_ms=whole, layers=tuple(entries))


FULL = made("full", 20.0, prologue=2.0, FL0=6.0, FL1=5.0, FL2=3.0, head=3.0)
SLIM = made("slim", 10.0, prologue=2.0, FL0=0.5, FL1=4.0, FL2=0.5, head=2.0)


def test_gains_are_net_of_adapters_and_sum_to_what_was_measured():
    found = predict_gains(FULL, SLIM, ["FL0", "FL2"])
    assert [gain.by_macs for gain in found.layers] == pytest.approx([3.6, 3.6])  # 20 ms x 900 of 5,000 MACs
    assert [gain.by_time for gain in found.layers] == pytest.approx([5.5, 2.5])
    assert (found.together.by_macs, found.together.by_time) == pytest.approx((7.2, 8.0))
    assert found.measured == pytest.approx(10)
    assert found.rest.by_macs == pytest.approx(0)
    assert found.together.by_time + found.rest.by_time == pytest.approx(found.measured)


def test_a_layer_whose_adapter_was_trimmed_away_brings_all_of_its_time():
    gone = SLIM.model_copy(update={"layers": tuple(layer for layer in SLIM.layers if layer.name != "FL2")})
    assert predict_gains(FULL, gone, ["FL2"]).layers[0].by_time == pytest.approx(3)


def test_the_tables_say_it():
    rows = {row[0]: row for row in tabulate_layers(FULL, PEAKS).rows}
    assert list(rows) == [
        "prologue",
        "fusion-language",
        "  FL0",
        "  FL1",
        "  FL2",
        "head",
        "between layers",
        "one call",
    ]
    assert rows["fusion-language"][:4] == ("fusion-language", "14.00", "70.0%", "60.0%")
    assert rows["  FL0"][1:4] == ("6.00", "30.0%", "20.0%")
    assert rows["between layers"][1:] == ("1.00", "5.0%", "", "", "", "")
    assert rows["one call"][1:4] == ("20.00", "100.0%", "100.0%")
    assert tabulate_sums([FULL, SLIM]).rows == (
        ("torch, full", "20.00", "19.00", "95.0%", "yes"),
        ("torch, slim", "10.00", "9.00", "90.0%", "yes"),
    )
    apart = made("full", 20.0, FL0=16.0)
    assert tabulate_sums([apart]).rows[0][-1] == "no"
    gained = {row[0]: row[1:] for row in tabulate_gains(FULL, SLIM, ["FL0", "FL2"]).rows}
    assert gained["  FL0"] == ("3.60", "18.0%", "5.50", "27.5%")
    assert gained["these layers"] == ("7.20", "36.0%", "8.00", "40.0%")
    assert gained["measured"] == ("", "", "10.00", "50.0%")


def test_the_tables_fit_into_80_columns(times_of):
    for runtime in ("torch", "onnxruntime"):
        found = times_of("meter", runtime)
        tables = [tabulate_layers(times, PEAKS) for times in found.values()]
        tables += [tabulate_gains(found["full"], found["slim"], SKIPPED), tabulate_sums(found.values())]
        console = Console(width=200, record=True, file=io.StringIO())
        for table in tables:
            console.print(draw(table))
        assert max(len(line.rstrip()) for line in console.export_text().splitlines()) <= 80


def test_layers_are_read_back_as_they_were_written():
    assert LayerTimes.model_validate_json(FULL.model_dump_json()) == FULL


def test_the_page_of_the_benchmark_has_the_sums_first_and_every_layer(monkeypatch):
    monkeypatch.setattr(benchmark.graphs, "LAYERS", ("FL0", "FL2"))
    text = benchmark.page([FULL, SLIM], [PEAKS])
    assert "| torch, slim | 10.00 | 9.00 | 90.0% | yes |" in text.split("What skipping brings")[0]
    assert "| &emsp;FL2 | 3.60 | 18.0% | 2.50 | 12.5% |" in text
    assert text.count("<details>") == text.count("| one call |") == 2

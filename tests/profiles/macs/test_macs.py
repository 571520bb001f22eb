"""MACs: the traced graph against the closed form, the closed form against the paper, and what is not counted."""

import json
import subprocess
import sys

import pytest

from benchmarks.paper.flops_tables import (
    ENCODER_ROWS,
    ROWS,
    TOLERANCE,
    by_formula,
    by_trace,
    encoder_by_formula,
    encoder_by_trace,
)
from benchmarks.results import command
from compressor.architectures.meter import MeterDims
from compressor.checkpoints.build import load_checkpoint
from compressor.costs.macs import count_macs
from compressor.costs.parts import parameters
from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from profiles.macs.formula import count_by_part, count_encoder
from profiles.macs.published import count_published
from tests.support.command_line import GOLDEN, das, stopped

G = 1e9
CONSISTENT = [row for row in ROWS if not row.doubt]


def inputs_of(dims):
    return FAMILIES["meter"].example_inputs(dims)


@pytest.fixture(params=["meter_tiny_vqa", "das_meter_tiny_vqa"])
def tiny(request):
    return load_checkpoint(GOLDEN / f"{request.param}.ckpt").model


@pytest.mark.parametrize("layers", [(), ("FL1",), ("FV0", "FL1"), ("FL0", "FV*", "LEn1", "VEn0")])
def test_the_traced_graph_agrees_with_the_closed_form(tiny, layers):
    plan = make_plan(tiny, layers) if layers else None
    model = remove_layers(tiny, plan) if plan else tiny
    skip = {entry.layer: entry.adapter_width for entry in plan.skip} if plan else {}
    counted = count_macs(model, inputs_of(tiny.dims))
    assert counted.by_pool == count_by_part(FAMILIES["meter"], tiny.dims, "vqa", skip)
    assert counted.total == sum(counted.by_pool.values())
    assert counted.total == sum(counted.by_step.values()) + counted.by_pool["prologue"] + counted.by_pool["head"]


def test_macs_grow_with_the_batch(tiny):
    one = inputs_of(tiny.dims)
    three = {name: value.expand(3, *value.shape[1:]) for name, value in one.items()}
    assert count_macs(tiny, three).total == 3 * count_macs(tiny, one).total


def test_what_is_not_counted_is_listed(tiny):
    listed = {entry.operator: entry.calls for entry in count_macs(tiny, inputs_of(tiny.dims)).uncounted}
    attentions = 2 * 2 * tiny.dims.fusion_layers + tiny.dims.text_layers + tiny.dims.vision_layers
    adapters = 3 * 2 * tiny.dims.fusion_layers if tiny.dims.parallel_width else 0
    assert listed["softmax (in attention)"] == attentions
    assert listed.get("relu", 0) == adapters
    assert {"gelu", "embedding", "add", "tanh", "bias (in linear)"} <= set(listed)


def test_parameters_by_part_are_all_of_them(tiny):
    assert sum(parameters(tiny).values()) == sum(p.numel() for p in tiny.parameters())
    assert (parameters(tiny)["parallel-adapters"] > 0) == bool(tiny.dims.parallel_width)


@pytest.mark.parametrize("row", CONSISTENT, ids=lambda row: f"{row.table}-{row.dataset}-{row.layers or 'none'}")
def test_every_consistent_row_of_the_paper(row):
    assert by_formula(row, row.layers) == pytest.approx(row.gmacs, abs=TOLERANCE)


def test_rows_that_contradict_themselves_are_those_known():
    doubtful = [row for row in ROWS if row.doubt]
    assert [(row.table, row.dataset, row.gmacs) for row in doubtful] == [
        ("A", "VQA", -4.51),
        ("A", "NLVR2", -4.22),
        ("B", "VQA", -24.00),
    ]
    for row in doubtful:
        as_printed = by_formula(row, row.layers)
        assert as_printed is None or abs(as_printed - row.gmacs) > TOLERANCE
        assert by_formula(row, row.reading) == pytest.approx(row.gmacs, abs=TOLERANCE)


@pytest.mark.parametrize("row", [ROWS[2], ROWS[17]], ids=lambda row: f"{row.dataset}-{row.layers}")
def test_the_command_counts_what_the_formula_says(row):
    assert by_trace(row) == pytest.approx(by_formula(row, row.layers), abs=1e-9)


def named(row):
    return f"{row.family}-{row.dataset}-{row.layers or 'none'}"


@pytest.mark.parametrize("row", ENCODER_ROWS, ids=named)
def test_every_row_of_an_encoder(row):
    assert encoder_by_formula(row) == pytest.approx(row.gmacs, abs=TOLERANCE)


@pytest.mark.parametrize("row", [ENCODER_ROWS[4], ENCODER_ROWS[-1]], ids=named)
def test_the_command_counts_an_encoder_as_the_formula_does(row):
    assert encoder_by_trace(row) == pytest.approx(encoder_by_formula(row), abs=1e-9)


@pytest.mark.parametrize(("family", "tokens"), [("vilt", 40 + 1 + 12 * 16), ("roberta", 40), ("bert", 40)])
def test_the_encoders_by_pool(family, tokens):
    counted = count_published(family, text_length=40, check=True)
    assert counted.additional_macs == 0
    assert counted.by_pool["encoder"] == count_encoder(12, tokens, 768, 3072)


@pytest.mark.parametrize(
    ("family", "parallel", "skip"),
    [
        ("meter", 96, {"FL0": 288, "LEn1": 192}),
        ("vilt", 96, {"En3": 192}),
        ("roberta", 32, {"En3": 32}),
        ("bert", 32, {"En3": 32}),
    ],
)
def test_adapters_are_as_wide_as_the_public_code_has_them(family, parallel, skip):
    found = count_published(family, text_length=8, skip_layers=tuple(skip), parallel_adapters=True).settings
    assert (found.parallel_width, found.skip_widths) == (parallel, skip)


def test_the_full_model_by_pool():
    counted = count_published("meter", image_size=384, text_length=40, check=True)
    pools = counted.by_pool
    assert counted.additional_macs == 0
    assert counted.by_pool == {
        **dict.fromkeys(pools, 0),
        **count_by_part(FAMILIES["meter"], MeterDims(image_size=384, text_length=40), "vqa"),
    }
    vision = pools["vision"] + pools["prologue"]
    fusion = pools["fusion-language"] + pools["fusion-vision"]
    for macs, expected in (
        (vision, 50.94),
        (pools["language"], 3.43),
        (pools["bridges"], 0.36),
        (fusion, 38.49),
        (counted.macs - pools["head"], 93.22),
    ):
        assert macs / G == pytest.approx(expected, abs=0.01)


def test_das_flops_prints_one_json_document():
    sizes = ("--image-size", "384", "--text-length", "40")
    command = ("flops", "meter", *sizes, "--skip-layers", "FV0,FV4", "--parallel-adapters", "--json")
    done = das(*command, "--check")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    keys = ["schema_version", "family", "settings", "macs", "additional_macs", "by_pool", "uncounted", "agreement"]
    assert list(found) == keys
    assert found["agreement"]["apart"] == 0
    assert found["additional_macs"] / G == pytest.approx(-9.06, abs=TOLERANCE)
    assert found["macs"] == sum(found["by_pool"].values())
    assert {"operator": "gelu", "calls": 23} in found["uncounted"]
    at_once = json.loads(das(*command).stdout)
    assert at_once["agreement"] is None
    assert {"operator": "softmax", "calls": None} in at_once["uncounted"]
    assert at_once == found | {name: at_once[name] for name in ("agreement", "uncounted")}


def test_das_flops_answers_without_pytorch():
    code = (
        "import sys; from das.main import app\n"
        "try: app(['flops', 'meter'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'transformers', 'onnx', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "one forward pass" in done.stdout
    assert "HEAVY []" in done.stdout


def test_das_flops_takes_images_that_are_not_square():
    wide = ("vilt", "--image-size", "64x96", "--text-length", "8", "--parallel-adapters", "--parallel-width", "80")
    found = json.loads(das("flops", *wide, "--skip-layers", "En3", "--skip-width", "256", "--json").stdout)
    assert found["settings"] == {
        "image_size": [64, 96],
        "text_length": 8,
        "skip_layers": ["En3"],
        "parallel_width": 80,
        "skip_widths": {"En3": 256},
        "merged_tokens": [],
    }
    assert found["by_pool"]["encoder"] == 11 * count_encoder(1, 8 + 1 + 2 * 3, 768, 3072)


def test_das_flops_prints_a_table():
    done = das("flops", "meter", "--image-size", "64", "--text-length", "8", "--skip-layers", "FL0")
    assert "MACs (1 MAC = 2 FLOPs)" in done.stdout
    assert "Not counted: " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "value"),
    [
        (("meteor",), "unknown-family", "meteor"),
        (("meter", "--skip-layers", "FV0,FW4"), "unknown-layer", "did you mean FV4"),
        (("meter", "--image-size", "100"), "image-size-impossible", "positive multiples of the patch size 16"),
        (("meter", "--image-size", "0"), "image-size-impossible", "positive multiples of the patch size 16"),
        (("meter", "--text-length", "513"), "text-length-impossible", "1 to 512 tokens"),
        (("meter", "--image-size", "288x384"), "image-not-square", "its images are square"),
        (("vilt", "--image-size", "320x600"), "image-size-impossible", "positive multiples of the patch size 32"),
        (("vilt", "--image-size", "wide"), "image-size-unreadable", "pixels, or HEIGHTxWIDTH"),
        (("vilt", "--image-size", "32x32x3"), "image-size-unreadable", "pixels, or HEIGHTxWIDTH"),
        (("roberta", "--image-size", "384"), "image-size-without-images", "it reads no images"),
        (("bert", "--text-length", "513"), "text-length-impossible", "1 to 512 tokens"),
        (("siglip", "--text-length", "5"), "text-length-fixed", "the 64 tokens that it was trained with"),
        (("clip", "--image-size", "31"), "image-size-impossible", "at least the patch size 32"),
        (("meter", "--parallel-width", "96"), "width-without-adapters", "--parallel-width without --parallel-adapters"),
        (("meter", "--skip-width", "0"), "width-too-small", "--skip-width 0"),
    ],
)
def test_das_flops_explains_wrong_usage(arguments, code, value):
    stopped(das("flops", *arguments), 2, code, value)


def test_all_wrong_sizes_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        count_published("meter", image_size=-16, text_length=0)
    assert caught.value.codes == ("image-size-impossible", "text-length-impossible")


def test_benchmarks_record_a_command_that_works_without_paths_of_a_machine():
    typed = ["/a/benchmarks/datasets/easyvqa.py", "/data/easy_vqa/", "--work=/tmp/work", "--steps", "5"]
    assert command(typed) == "python -m benchmarks.datasets.easyvqa easy_vqa --work=work --steps 5"

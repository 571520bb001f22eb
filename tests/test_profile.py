"""Profiles: statistics on made-up times, claims, memory of a process, and a whole profile of a tiny run."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from compressor.checkpoints import sha256
from compressor.errors import CheckFailed, EnvironmentProblem, UsageError
from compressor.evaluation import Score
from compressor.loading import load_checkpoint
from compressor.runs import Manifest, Results, Source, save_run
from compressor.surgery import make_plan, remove_layers
from profiles import assertions, latency, runtimes
from profiles.comparison import ProfileReport
from profiles.markdown import to_markdown
from profiles.memory import MemoryRequest, memory
from profiles.profile import choose_runtimes, parity, profile
from profiles.tables import quantity, size
from tests.support import GOLDEN

CHECKPOINT = GOLDEN / "meter_tiny_vqa.ckpt"
LAYERS = ("FL1", "FV0")


def make_run(folder, rows=3):
    """A run as a compression leaves it, of the tiny METER, without training."""
    full = load_checkpoint(CHECKPOINT).model
    plan, dims = make_plan(full, LAYERS), full.dims
    score = Score(metric="accuracy", value=0.5, margin=0.1, samples=rows, loss=1.0)
    manifest = Manifest(
        family="meter",
        task="vqa",
        dims=dims.model_dump(),
        plan=plan,
        strategy="layers",
        candidates=full.layers,
        source=Source(path=str(CHECKPOINT), sha256=sha256(CHECKPOINT), image_size=dims.image_size),
        data=(),
        data_root="",
        settings={},
        trained_parameters=0,
        device="cpu",
        versions={},
        command="",
        results=Results(full=score, slim=score, floor=0.1, answer_agreement=1.0, seconds={}),
    )
    draw = torch.Generator().manual_seed(0)
    shape = (rows, dims.text_length)
    samples = {
        "input_ids": torch.randint(3, dims.text_vocabulary, shape, generator=draw),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "pixel_values": torch.randn(rows, 3, dims.image_size, dims.image_size, generator=draw),
    }
    slim = remove_layers(full, plan)
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0}, "<pad>"))
    labels = tuple(map(str, range(dims.classes)))
    return save_run(folder, slim, manifest, tokenizer=tokenizer, labels=labels, samples=samples, log=[])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def report(run):
    """A profile in which each process that measures memory, seconds to start, stands for both models."""
    once = functools.cache(lambda runtime, request: memory(request))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profiles.profile.memory", lambda r: once(r.runtime, r.model_copy(update={"which": "slim"})))
        return profile(run, seconds=0.05, threads=1, device="cpu")


class Clockwork:
    """Stands for the clock: every call of a name takes the next of its made-up times."""

    def __init__(self, **times):
        self.order, self.times = [], {name: itertools.cycle(values) for name, values in times.items()}

    def calls(self):
        return {name: lambda name=name: name for name in self.times}

    def __call__(self, call):
        self.order.append(call())
        return next(self.times[call()]), None


def test_calls_take_turns_and_none_of_the_warm_up_counts():
    clock = Clockwork(full=[2.0, 4.0], slim=[1.0])
    found = latency.measure(clock.calls(), seconds=0, clock=clock, least_turns=4, batch=8)
    assert clock.order == ["full", "slim", "slim", "full"] * 2
    assert found["full"].samples_ms == (2.0, 4.0, 2.0, 4.0)
    assert found["full"].n == found["slim"].n == 4
    assert found["slim"].throughput == pytest.approx(8 / 1e-3)


def test_quantiles_and_spread():
    found = latency.summarise(range(101))
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == (50, 90, 99)
    assert (found.min_ms, found.max_ms, found.mean_ms, found.n) == (0, 100, 50, 101)
    assert found.spread == pytest.approx(np.std(range(101)) / 50)
    assert latency.summarise([3.0]).p99_ms == 3.0


def times(median, noise, seed, n=200):
    return latency.summarise(median * np.exp(np.random.default_rng(seed).normal(0, noise, n)))


def test_a_clear_speed_up_is_called_one():
    found = latency.speedup(times(14.2, 0.05, 1), times(10.0, 0.05, 2))
    assert found.low < 1.42 < found.high
    assert found.low > 1.38
    assert found.verdict == f"x{found.ratio:.2f} faster (95 % interval {found.low:.2f}-{found.high:.2f})"


def test_noise_is_not_called_a_speed_up():
    found = latency.speedup(times(10.0, 0.5, 1, n=20), times(9.9, 0.5, 2, n=20))
    assert found.low < 1 < found.high
    assert found.verdict.startswith("no significant speed-up")


def test_a_slow_down_is_called_slower():
    assert latency.speedup(times(10.0, 0.01, 1), times(20.0, 0.01, 2)).verdict.startswith("slower: only x0.50")


def test_the_interval_is_the_same_every_time():
    full, slim = times(12.0, 0.2, 1), times(10.0, 0.2, 2)
    assert latency.speedup(full, slim) == latency.speedup(full, slim)


def test_pairing_keeps_a_common_drift_out_of_the_interval():
    drift = np.linspace(1, 3, 100)
    found = latency.speedup(latency.summarise(1.1 * drift), latency.summarise(drift))
    assert found.low == pytest.approx(1.1, abs=1e-3)
    assert found.high == pytest.approx(1.1, abs=1e-3)


def test_units():
    assert quantity(93_231_962_112) == "93.23 G"
    assert quantity(8_352_768, like=93_231_962_112) == "0.01 G"
    assert quantity(11) == "11"
    assert size(1_300_000_000) == "1.30 GB"
    assert size(-5) == "-5 B"


def test_batches_begin_again_when_the_samples_run_out():
    rows = {"x": torch.arange(3)}
    assert runtimes.batch_of(rows, 7)["x"].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_claims_are_read():
    text = "speedup>=1.3, speedup:onnxruntime > 2,macs<=0.9,memory<1 , parity=pass"
    claims = assertions.parse(text, ["torch", "onnxruntime"])
    assert [(claim.name, claim.comparison, claim.bound) for claim in claims] == [
        ("speedup", ">=", 1.3),
        ("speedup:onnxruntime", ">", 2.0),
        ("macs", "<=", 0.9),
        ("memory", "<", 1.0),
        ("parity", ">=", 1),
    ]
    assert assertions.parse("", ["torch"]) == ()


@pytest.mark.parametrize(
    "claim", ["speed>=1", "speedup", "speedup>=", "speedup>=fast", "speedup:trt>=1", "macs:torch<=1", "parity=fail"]
)
def test_claims_that_cannot_be_read_are_refused(claim):
    with pytest.raises(UsageError, match="the claim"):
        assertions.parse(claim, ["torch"])


def test_all_unreadable_claims_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        assertions.parse("speed>=1,macs<=0.9,size<1", ["torch"])
    assert len(caught.value.problems) == 2


def test_a_claim_must_hold_in_every_runtime():
    found = [assertions.Measured("speedup:a", 1.5, ""), assertions.Measured("speedup:b", 1.1, "x1.10 faster")]
    assertions.check(assertions.parse("speedup>1,speedup:a>=1.5", ["a", "b"]), found)
    with pytest.raises(CheckFailed, match=r"speedup:b: x1\.10 faster") as caught:
        assertions.check(assertions.parse("speedup>=1.3", ["a", "b"]), found)
    assert len(caught.value.problems) == 1


def test_what_was_not_measured_fulfils_no_claim(report):
    for records in ({}, {"model.onnx.parity.json": "failed"}, {"model.plan.parity.json": "not verified"}):
        with pytest.raises(CheckFailed):
            assertions.check(assertions.parse("parity=pass", []), assertions.measured(report, records))
    passed = assertions.measured(report, {"model.onnx.parity.json": "passed"})
    assertions.check(assertions.parse("parity=pass", []), passed)


def test_a_whole_profile(run, report):
    assert [entry.name for entry in report.runtimes] == ["torch", "onnxruntime"]
    assert report.macs.difference < 0
    assert report.macs.difference == sum(pair.difference for pair in report.macs_by_pool.values())
    assert report.parameters.full == sum(p.numel() for p in run.load_full().parameters())
    assert report.parameters.slim == sum(p.numel() for p in run.load_slim().parameters())
    assert report.skipped == LAYERS
    assert (run.path / "exports" / "model.onnx").exists()
    assert (run.path / "exports" / "full" / "model.onnx").exists()
    assert parity(run) == {"model.onnx.parity.json": "passed"}
    for entry in report.runtimes:
        assert entry.full.n == entry.slim.n == len(entry.full.samples_ms) >= latency.LEAST_TURNS
        assert 0 < entry.speedup.low <= entry.speedup.high
        assert entry.file_bytes.difference < 0
        assert entry.memory.full.peak >= entry.memory.full.before > 0
    missing = {entry.what for entry in report.not_measured}
    assert {"GPU", "TensorRT"} <= missing
    assert report.environment.threads == 1


def test_a_profile_survives_json(report):
    assert ProfileReport.model_validate_json(report.model_dump_json()) == report
    assert report.model_dump()["schema_version"] == 1


def test_markdown_says_it_all(report):
    text = to_markdown(report)
    for expected in ("MACs (1 MAC = 2 FLOPs)", "Not counted: ", "softmax (in attention)", "torch: ", "Not measured"):
        assert expected in text


@pytest.fixture
def no_processes(monkeypatch):
    """Memory was measured for ``report`` already; starting Python takes seconds."""
    monkeypatch.setattr("profiles.profile.memory", lambda request: "not in this test")


def das(run, *arguments):
    from das.main import app

    return CliRunner().invoke(app, ["profile", str(run.path), "--seconds", "0.05", "--runtime", "torch", *arguments])


def test_das_profile_prints_one_json_document_and_keeps_it(run, no_processes):
    done = das(run, "--json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((run.path / "profile.json").read_text())


def test_das_profile_fails_on_a_claim_that_does_not_hold_but_reports(run, no_processes):
    done = das(run, "--assert", "macs<=0.5,parity=pass", "--device", "cpu")
    assert done.exit_code == 4
    assert "What it costs" in done.stdout
    assert "slim over full is" in done.output
    assert "memory, full, torch: not in this test" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "wrong", [("--assert", "speedup"), ("--runtime", "tflite"), ("--batch", "0"), ("--seconds", "-1")]
)
def test_das_profile_explains_wrong_usage(run, wrong):
    assert das(run, *wrong).exit_code == 2


def test_a_runtime_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("profiles.profile.find_spec", lambda name: None if name == "onnxruntime" else name)
    assert [entry.name for entry in choose_runtimes(())] == ["torch"]
    with pytest.raises(EnvironmentProblem, match="onnxruntime is not installed"):
        choose_runtimes(["onnxruntime"])


def test_a_process_that_dies_is_a_reason_not_a_crash(run, monkeypatch):
    monkeypatch.setattr("sys.executable", "false")
    request = MemoryRequest(
        run=run.path, which="slim", runtime="torch", onnx=run.path, batch=1, threads=1, device="cpu"
    )
    assert memory(request) == "the measuring process ended with status 1: no message"

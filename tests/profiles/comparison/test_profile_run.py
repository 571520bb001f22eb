"""Profiles: statistics on made-up times, claims, memory of a process, and a whole profile of a tiny run."""

import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from onnxruntime import get_available_providers
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

import profiles.comparison.profile_run
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.read import checkpoint_sha256
from compressor.checkpoints.write import save_public_checkpoint
from compressor.costs.count_costs import count_costs
from compressor.costs.parts import weight_bytes
from compressor.errors import EnvironmentProblem, InputError, UsageError, environment_problem
from compressor.evaluation.score import EveryAnswer, Score
from compressor.families.meter.meter_family import build
from compressor.models.surgery import make_plan, remove_layers
from compressor.progress import QUIET
from compressor.saved_run.manifest import Manifest, Results, RunSettings, Source
from compressor.saved_run.run_folder import Run
from compressor.saved_run.save_run import every_tensor, save_run
from das.render.print_profile import print_profile
from exporters.checks.parity import record
from exporters.checks.records import EXPORTS, Comparison, read_statuses, record_of
from exporters.export import export
from exporters.folder import ExportsFolder
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from exporters.runtimes.sessions import OnnxRunner
from exporters.runtimes.tensorrt_engine import TENSORRT, Target, read_metadata
from profiles.comparison import matching_exports as exported
from profiles.comparison.full_vs_slim import MemoryPair, ProfileReport
from profiles.comparison.profile_run import describe_time, list_lost, measure_run, save_profile
from profiles.deployment.fastest import describe_fastest
from profiles.deployment.ways import choose_runtimes
from profiles.formatting import format_bytes, format_count
from profiles.gates import assertions
from profiles.machine.memory import Memory
from profiles.reports.build_report import build_report
from profiles.reports.compression_report import KEPT, REPLACED
from profiles.reports.compression_tables import tabulate_report
from profiles.reports.markdown import render_profile
from profiles.reports.profile_tables import (
    TRIMS,
    describe_speedups,
    tabulate_latencies,
    tabulate_profile_costs,
    tabulate_times,
)
from profiles.reports.save import save_report
from profiles.reports.sentences import describe_result
from profiles.timing import paired as timing
from profiles.timing.sample_batches import make_batch
from profiles.timing.sweeps import Sweep, check_sweeps, parse_sweeps
from profiles.timing.template import Template
from profiles.timing.worker import COMMAND, Setting, Worker, WorkerRequest, resize_inputs
from tests.support.command_line import GOLDEN, refused
from tests.support.search_logs import log_entry
from tests.support.workers import in_threads

CHECKPOINT = GOLDEN / "meter_tiny_vqa.ckpt"
LAYERS = ("FL1", "FV0")


def make_run(folder, rows=3, checkpoint=CHECKPOINT, strategy="by hand", candidates=LAYERS, log=()):
    """A run as a compression leaves it, of the tiny METER unless another is given, without training."""
    full = load_checkpoint(checkpoint).model
    plan, dims = make_plan(full, LAYERS), full.dims
    score = Score(metric="accuracy", value=0.5, margin=0.1, samples=rows, loss=1.0)
    draw = torch.Generator().manual_seed(0)
    shape = (rows, dims.text_length)
    samples = {
        "input_ids": torch.randint(3, dims.text_vocabulary, shape, generator=draw),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "pixel_values": torch.randn(rows, 3, dims.image_size, dims.image_size, generator=draw),
    }
    torch.manual_seed(0)  # the adapters that the shared export of this model has
    slim = remove_layers(full, plan)
    manifest = Manifest(
        family="meter",
        task="vqa",
        dims=dims.model_dump(),
        plan=plan,
        strategy=strategy,
        candidates=candidates,
        source=Source(path=str(checkpoint), sha256=checkpoint_sha256(checkpoint), image_size=dims.image_size),
        data=(),
        data_root="",
        settings=RunSettings(checkpoint=str(checkpoint)),
        updated_parameters={},
        device="cpu",
        versions={},
        command="",
        results=Results(full=score, slim=score, floor=0.1, answer_agreement=1.0, seconds={}),
        costs=count_costs(full, slim, {name: values[:1] for name, values in samples.items()}),
    )
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0}, "<pad>"))
    labels = tuple(map(str, range(dims.classes)))
    kept = {"samples": samples, "answers": answers_of(full, slim, samples), "result": None, "log": log}
    return save_run(folder, slim, manifest, tokenizer=tokenizer, labels=labels, source_files={}, **kept)


def answers_of(full, slim, samples):
    """The tensors of both models' answers to ``samples``, where the full model is always right."""
    with torch.no_grad():
        logits = {"full": full.eval()(**samples), "slim": slim.eval()(**samples)}
    right, answers = (rows.argmax(-1).int() for rows in logits.values())
    every = EveryAnswer(
        *(x.numpy() for x in (torch.ones(len(right)), (answers == right).float(), right, right, answers))
    )
    targets = torch.nn.functional.one_hot(right.long(), logits["full"].shape[1]).float()
    return {"numbers": torch.arange(len(right)), "targets": targets, **logits, **every_tensor(every)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def report(run):
    """A profile whose models are in threads of this process, not in processes of their own."""
    sweeps = (Sweep("batch", (2,)), Sweep("threads", (1,)))
    with pytest.MonkeyPatch.context() as patch:
        in_threads(patch)
        patch.setattr("profiles.timing.latency.BLOCK_MS", 20.0)  # several calls in a turn
        asked = {"sweeps": sweeps, "layers": True, "command": "das profile"}
        return measure_run(run, seconds=0.05, threads=1, device="cpu", **asked)


def test_precisions_that_are_asked_for_are_certified_and_the_fastest_is_named(run, monkeypatch):
    in_threads(monkeypatch)
    monkeypatch.setattr("compressor.device.missing_products", lambda dtype, device: "")
    asked = {"runtimes": ["torch"], "precisions": ["bf16,fp32"], "threads": 1, "device": "cpu"}
    report = measure_run(run, seconds=0.01, **asked)
    (runtime,) = report.runtimes
    assert [variant.name for variant in runtime.variants] == ["full fp32", "full bf16", "slim fp32", "slim bf16"]
    exact, cast = (runtime.variants[number].answers for number in (2, 3))
    assert (exact.agreement, exact.change.change) == (1.0, 0.0)
    assert 0 <= cast.agreement <= 1
    assert cast.change.before == exact.change.before
    fastest = report.fastest
    assert (fastest.runtime, fastest.file, len(fastest.ways)) == ("torch", "", 1)
    assert {entry.precision: entry.latency for entry in fastest.ways}[fastest.precision].p50_ms == fastest.p50_ms
    sentence = describe_fastest(fastest)
    assert render_profile(report).rstrip().endswith(sentence)
    assert {entry.what: entry.why for entry in report.not_measured}["onnxruntime"] == "not asked for"


def test_units():
    assert format_count(93_231_962_112) == "93.23 G"
    assert format_count(8_352_768, like=93_231_962_112) == "0.01 G"
    assert format_count(11) == "11"
    assert format_bytes(1_300_000_000) == "1.30 GB"
    assert format_bytes(-5) == "-5 B"


def test_batches_begin_again_when_the_samples_run_out():
    rows = {"x": torch.arange(3)}
    assert make_batch(rows, 7)["x"].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_claims_are_read():
    text = "speedup>=1.3, speedup:onnxruntime > 2,macs<=0.9,memory<1 , parity=pass"
    claims = assertions.parse_claims(text, ["torch", "onnxruntime"])
    assert [(claim.name, claim.comparison, claim.bound) for claim in claims] == [
        ("speedup", ">=", 1.3),
        ("speedup:onnxruntime", ">", 2.0),
        ("macs", "<=", 0.9),
        ("memory", "<", 1.0),
        ("parity", ">=", 1),
    ]
    assert assertions.parse_claims("", ["torch"]) == ()


@pytest.mark.parametrize(
    "claim", ["speed>=1", "speedup", "speedup>=", "speedup>=fast", "speedup:trt>=1", "macs:torch<=1", "parity=fail"]
)
def test_claims_that_cannot_be_read_are_refused(claim):
    with refused(UsageError, "wrong-claim", claim):
        assertions.parse_claims(claim, ["torch"])


def test_all_unreadable_claims_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        assertions.parse_claims("speed>=1,macs<=0.9,size<1", ["torch"])
    assert caught.value.codes == ("wrong-claim", "wrong-claim")


def test_a_claim_must_hold_in_every_runtime():
    found = [assertions.Measured("speedup:a", 1.5, ""), assertions.Measured("speedup:b", 1.1, "x1.10 faster")]
    assert not assertions.find_failures(assertions.parse_claims("speedup>1,speedup:a>=1.5", ["a", "b"]), found)
    (failed,) = assertions.find_failures(assertions.parse_claims("speedup>=1.3", ["a", "b"]), found)
    assert failed.found == "speedup:b: x1.10 faster"


def test_what_was_not_measured_fulfils_no_claim(report):
    for records in ({}, {"model.onnx.parity.json": "failed"}, {"model.plan.parity.json": "not verified"}):
        assert assertions.find_failures(
            assertions.parse_claims("parity=pass", []), assertions.collect_measurements(report, records)
        )
    passed = assertions.collect_measurements(report, {"model.onnx.parity.json": "passed"})
    assert not assertions.find_failures(assertions.parse_claims("parity=pass", []), passed)


def test_a_whole_profile(run, report):
    assert [entry.name for entry in report.runtimes] == ["torch", "onnxruntime"]
    assert report.macs.difference < 0
    assert report.macs.difference == sum(pair.difference for pair in report.macs_by_pool.values())
    assert report.trims.after == report.macs.slim < report.trims.before < report.macs.full
    assert report.trims.saved == report.trims.before - report.trims.after
    assert report.parameters.full == sum(p.numel() for p in run.load_full().parameters())
    assert report.parameters.slim == sum(p.numel() for p in run.load_slim().parameters())
    assert report.skipped == LAYERS
    assert (run.path / "exports" / "model.onnx").exists()
    assert (run.path / "exports" / "full" / "model.onnx").exists()
    assert read_statuses(run.path / EXPORTS) == {"model.onnx.parity.json": "passed"}
    for entry in report.runtimes:
        assert len(entry.full.medians_ms()) == len(entry.slim.medians_ms()) >= timing.LEAST_TURNS
        assert entry.full.n == len(entry.full.samples_ms) == sum(entry.full.turns or (1,) * entry.full.n)
        assert 0 < entry.speedup.low <= entry.speedup.high
        assert entry.speedup.pairs == len(entry.full.processes) == timing.LEAST_GROUPS
        assert entry.file_bytes.difference < 0
        assert entry.memory.full.peak >= entry.memory.full.loaded >= 0
        assert entry.memory.full.activations == entry.memory.full.peak - entry.memory.full.loaded
        assert min(entry.started.full.load_seconds, entry.started.slim.first_call_seconds) > 0
        assert 0 <= entry.conditions.others <= 1
    seen = {(times.runtime, times.which): {layer.name for layer in times.layers} for times in report.layers}
    assert seen.keys() == {(runtime, which) for runtime in ("torch", "onnxruntime") for which in ("full", "slim")}
    assert all(set(run.load_full().layers) <= seen[runtime, "full"] for runtime in ("torch", "onnxruntime"))
    assert {peaks.runtime for peaks in report.peaks} == {"torch", "onnxruntime"}
    missing = {entry.what for entry in report.not_measured}
    assert {"GPU", "tensorrt"} <= missing
    assert report.environment.threads == 1
    assert (report.command, report.checkpoint_sha256) == ("das profile", run.manifest.source.sha256)
    swept = [(point.axis, point.value, point.runtime) for point in report.sweeps]
    assert swept == [
        (*point, runtime) for runtime in ("torch", "onnxruntime") for point in (("batch", 2), ("threads", 1))
    ]


def test_a_profile_survives_json(report):
    assert ProfileReport.model_validate_json(report.model_dump_json()) == report
    assert report.model_dump()["schema_version"] == 3


def test_sweeps_are_read():
    assert parse_sweeps(["batch=1,8,1", "text-length=4"]) == (Sweep("batch", (1, 8)), Sweep("text-length", (4,)))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        *((text, "wrong-sweep") for text in ("batch", "batch=", "batch=0", "batch=two", "size=1")),
        ("text-length=13", "text-length-impossible"),
        ("image-size=64", "image-size-fixed"),
    ],
)
def test_sweeps_that_cannot_be_are_refused(run, wrong, code):
    with refused(UsageError, code, f"--sweep {wrong}"):
        check_sweeps(parse_sweeps(["batch=1", wrong]), run)


def test_inputs_of_other_sizes(run):
    found = resize_inputs(run, Setting(batch=5, text_length=4, image_size=64))
    assert found["input_ids"].shape == found["attention_mask"].shape == (5, 4)
    assert found["pixel_values"].shape == (5, 3, 64, 64)
    assert found["attention_mask"].all()
    longer = resize_inputs(run, Setting(text_length=30))
    own = resize_inputs(run, Setting())["input_ids"]
    assert torch.equal(longer["input_ids"], torch.cat([own] * 3, 1)[:, :30])


def test_markdown_says_it_all(report):
    text = render_profile(report)
    for expected in (
        "MACs (1 MAC = 2 FLOPs)",
        TRIMS.strip(),
        "Not counted: ",
        "softmax (in attention)",
        "torch: ",
        "Not measured",
    ):
        assert expected in text


@pytest.fixture
def threads(monkeypatch):
    """Starting Python takes seconds; one test below does."""
    in_threads(monkeypatch)


def das(run, *arguments):
    from das.main import app

    return CliRunner().invoke(app, ["profile", str(run.path), "--seconds", "0.05", "--runtime", "torch", *arguments])


def test_das_profile_prints_one_json_document_and_keeps_it(run, threads):
    done = das(run, "--json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((run.path / "profile.json").read_text())


def test_das_profile_fails_on_a_claim_that_does_not_hold_but_reports(run, threads):
    done = das(run, "--assert", "macs<=0.5,parity=pass", "--device", "cpu")
    assert done.exit_code == 4
    assert "slim of full" in done.stdout
    assert "slim over full is" in done.output
    assert "Not measured: " in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if "/" not in line) <= 80  # a path may be long


def test_claims_that_hold_are_counted(run, threads):
    done = das(run, "--assert", "macs<=1,parameters<=1", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "2 claims hold: macs<=1, parameters<=1" in done.stderr


def test_what_a_profile_replaces_is_named(run, report, tmp_path):
    folder = Run(tmp_path, run.manifest)
    assert list_lost(folder, report) == ()
    save_profile(folder, report)
    assert list_lost(folder, report) == ()
    later = report.model_copy(update={"runtimes": report.runtimes[:1], "layers": (), "sweeps": ()})
    lost = ("onnxruntime, full fp32", "onnxruntime, slim fp32", "layers", "sweeps")
    assert list_lost(folder, later) == lost
    (tmp_path / "profile.json").write_text("{}")
    assert list_lost(folder, later) == ()


def test_layers_that_were_timed_are_on_the_screen(run, report, capsys):
    shown = {"details": False, "html": False, "markdown": False, "json": False}
    print_profile(run, report, None, **shown)
    text = capsys.readouterr().out
    for runtime in ("torch", "onnxruntime"):
        assert f"What skipping brings in {runtime}" in text
    assert "every layer: --details, or report.html" in text
    print_profile(run, report.model_copy(update={"layers": (), "peaks": ()}), None, **shown)
    assert "every layer" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ("--assert", "speedup"),
        ("--runtime", "tflite"),
        ("--batch", "0"),
        ("--seconds", "-1"),
        ("--questions-per-image", "0"),
    ],
)
def test_das_profile_explains_wrong_usage(run, wrong):
    assert das(run, *wrong).exit_code == 2


@pytest.mark.slow
def test_questions_on_one_image_are_in_the_report(run, threads):
    found = measure_run(run, runtimes=["torch"], seconds=0.01, threads=1, device="cpu", questions_per_image=3)
    assert all(ExportsFolder(run.path / "exports" / folder).split() for folder in ("", "full"))
    assert found.questions.count == 3
    assert ProfileReport.model_validate_json(found.model_dump_json()) == found
    (table,) = (table for table in tabulate_times(found) if "questions on one image" in table.title)
    assert table.title == "Latency in ms of 3 questions on one image (ONNX Runtime)"
    assert [row[0] for row in table.rows][:2] == ["full, whole graph", "full, vision tower once"]
    assert any(sentence.startswith("slim, vision tower once: ") for sentence in describe_speedups(found))
    assert table.title in render_profile(found)


def test_a_model_without_a_vision_tower_has_no_questions_to_time(run):
    manifest = run.manifest.model_copy(update={"family": "vilt", "dims": {}})
    with refused(UsageError, "nothing-to-split", "vilt"):
        measure_run(replace(run, manifest=manifest), runtimes=["torch"], device="cpu", questions_per_image=3)


def blocked(monkeypatch, runtime, found):
    """Let ``runtime`` refuse to run anywhere."""

    def refuse(device):
        raise environment_problem("blocked", found, "a runtime that is here", "install it")

    monkeypatch.setattr(find_runtime(runtime), "check", refuse)


def test_a_runtime_that_cannot_run_here_is_left_out_unless_it_was_named(run, threads, monkeypatch):
    blocked(monkeypatch, "onnxruntime", "no ONNX Runtime")
    assert [entry.name for entry in choose_runtimes(())] == ["torch"]
    with refused(EnvironmentProblem, "blocked", "no ONNX Runtime"):
        choose_runtimes(["onnxruntime"])
    found = measure_run(run, seconds=0.01, threads=1, device="cpu")
    assert [entry.name for entry in found.runtimes] == ["torch"]
    assert {entry.what: entry.why for entry in found.not_measured}["onnxruntime"] == "no ONNX Runtime; install it"


@pytest.mark.skipif("CUDAExecutionProvider" in get_available_providers(), reason="a GPU build of ONNX Runtime")
def test_a_gpu_machine_with_the_cpu_build_of_onnxruntime_measures_torch(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("exporters.runtimes.tensorrt_engine.find_target", lambda: Target(TENSORRT, ("SM90",), "a GPU"))
    assert [entry.name for entry in choose_runtimes(())] == ["torch"]
    assert [entry.name for entry in choose_runtimes((), "cpu")] == ["torch", "onnxruntime"]
    with refused(EnvironmentProblem, "provider-not-used", "would use none"):
        choose_runtimes(["torch", "onnxruntime"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_engines_are_timed_on_a_gpu_only(run):
    with refused(EnvironmentProblem, "tensorrt-without-gpu", "cpu"):
        choose_runtimes(["tensorrt"])
    assert das(run, "--runtime", "tensorrt").exit_code == 5


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there: the engine would be of another kind")
def test_the_full_models_engine_is_built_like_the_slim_one(tmp_path, threads, monkeypatch):
    """Real engines, of TensorRT-RTX; ONNX Runtime takes the place of the GPU that would run them."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: no engine can be built here")
    run, opened = run_of(tmp_path, {"text_layers": 1, "vision_layers": 1, "fusion_layers": 2}), []

    def open_graph(subject, device, threads):
        opened.append(subject.file)
        return OnnxRunner(subject.file.with_name("model.onnx"), threads=threads)

    monkeypatch.setattr(find_runtime("tensorrt"), "check", lambda device: None)
    monkeypatch.setattr(find_runtime("tensorrt"), "open", open_graph)
    again = partial(measure_run, run, runtimes=["tensorrt"], seconds=0.01, threads=1, device="cpu")
    with refused(InputError, "export-missing", "rtx.plan"):
        again()
    full, slim = plans = [run.path / "exports" / folder / "model.fp32.rtx.plan" for folder in ("full", "")]
    for batch in ((1, 2, 4), (1, 1, 1)):
        export(run.load_slim(), run.samples(), slim.parent, ["trt"], batch=batch)
        (entry,) = again().runtimes
        assert [shape[0] for shape in read_metadata(full).profile["input_ids"]] == list(batch)
        assert [entry.file_bytes.full, entry.file_bytes.slim] == [plan.stat().st_size for plan in plans]
    assert Counter(opened) == dict.fromkeys(plans, 2 * timing.LEAST_GROUPS)
    made = full.stat().st_mtime_ns
    again()
    assert full.stat().st_mtime_ns == made


def test_the_full_models_graph_is_written_like_the_slim_one(tmp_path, monkeypatch):
    slim, asked = tmp_path / "model.onnx", []
    folders = ExportsFolder(tmp_path / "full"), ExportsFolder(tmp_path)

    def write(path, form):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        found = Comparison(status="passed", reason="", tolerance=1e-4)
        written = record("a runtime", "fp32", found, ()).model_copy(update={"attention": form})
        record_of(path).write_text(written.model_dump_json())

    def pretend(model, samples, folder, formats, *, precision, reference, attention, usage, device, progress):
        asked.append((formats, precision, reference, attention))
        write(folder / "model.onnx", attention)

    def make():
        full, slim = folders
        onnx, fp32 = find_runtime("onnx"), PRECISIONS["fp32"]
        exported.make_full(exported.Wanted(onnx, fp32, None, {}, full, lambda: "samples", QUIET), slim)

    monkeypatch.setattr(exported, "export", pretend)
    for form in ("composed", "composed", "fused", "fused"):
        write(slim, form)
        make()
    assert asked == [(["onnxruntime"], "fp32", "samples", form) for form in ("composed", "fused")]
    record_of(tmp_path / "full" / "model.onnx").write_text("damaged")
    make()
    assert len(asked) == 3


def on_cuda(report):
    """The report as a GPU would have made it: events and counters for torch, neither for ONNX Runtime."""
    torch_, onnx = report.runtimes
    full, slim = (getattr(torch_, name).model_copy(update={"gpu_p50_ms": 1.23}) for name in ("full", "slim"))
    memory = MemoryPair(
        full=torch_.memory.full.model_copy(update={"gpu_allocated": 3_000_000}),
        slim=torch_.memory.slim.model_copy(update={"gpu_allocated": 2_000_000}),
    )
    seen = torch_.model_copy(update={"full": full, "slim": slim, "memory": memory})
    place = report.environment.model_copy(update={"device": "cuda (a GPU)"})
    return report.model_copy(
        update={"runtimes": (seen, onnx.model_copy(update={"memory": None})), "environment": place}
    )


def test_on_cuda_memory_and_events_are_those_of_the_gpu(report):
    found = on_cuda(report)
    rows = {row[0]: row for row in tabulate_profile_costs(found).rows}
    assert rows["peak GPU memory, torch"][1:3] == ("3.00 MB", "2.00 MB")
    assert not any("memory, onnxruntime" in name for name in rows)
    latencies = tabulate_latencies(found)
    place = latencies.header.index("p50 GPU")
    assert [row[place] for row in latencies.rows] == ["1.23", "1.23", "", ""]
    assert "p50 GPU" not in tabulate_latencies(report).header
    (shares,) = [entry for entry in assertions.collect_measurements(found, {}) if entry.name == "memory:torch"]
    assert shares.value == pytest.approx(2 / 3)


@pytest.mark.slow
def test_memory_shrinks_by_what_the_removed_layers_weighed(tmp_path):
    # Wide layers and few tokens: activations, and what allocators keep of them, are small beside the weights.
    made = run_of(tmp_path, {"hidden": 512, "heads": 8, "fusion_ffn": 6144, "fusion_layers": 2})
    removed = weight_bytes(made.load_full()) - weight_bytes(made.load_saved())
    assert removed > 50e6
    peaks = {}
    for which in ("full", "slim"):
        with Template(COMMAND) as starts, Worker(request(made, which), starts.start) as worker:
            peaks[which] = worker.memory().peak
    # Two processes differ by a few MB in libraries and what allocators keep.
    assert peaks["full"] - peaks["slim"] == pytest.approx(removed, rel=0.15)


def run_of(folder, sizes):
    """A run of the tiny METER of other sizes."""
    model = build(load_checkpoint(CHECKPOINT).model.dims.model_copy(update=sizes), "vqa")
    config = {"num_heads": model.dims.heads, "max_text_len": model.dims.text_length}
    save_public_checkpoint(model, folder / "other.ckpt", config)
    return make_run(folder / "run", checkpoint=folder / "other.ckpt")


def request(run, which="slim", file=None, runtime="torch"):
    return WorkerRequest(
        run=run.path,
        which=which,
        runtime=runtime,
        file=file,
        threads=1,
        device="cpu",
        setting=Setting(),
    )


def test_processes_of_their_own_that_import_nothing_from_the_users_folder(run, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    monkeypatch.chdir(tmp_path)
    asked = request(run).model_copy(update={"threads": 2})
    with Template(COMMAND) as starts, Worker(asked, starts.start) as first, Worker(asked, starts.start) as second:
        assert len({os.getpid(), first.pid, second.pid}) == 3
        for worker in (first, second):
            assert all(wall > 0 and gpu is None for wall, gpu in worker.turn())
            worker.bind(Setting(batch=2))
            assert isinstance(worker.memory(), Memory)
            assert worker.started.load_seconds > 0


def test_what_a_worker_cannot_do_is_said(run, tmp_path, threads):
    with (
        Template(COMMAND) as starts,
        refused(EnvironmentProblem, "export-missing", "slim in onnxruntime", tmp_path / "no.onnx"),
        Worker(request(run, file=tmp_path / "no.onnx", runtime="onnxruntime"), starts.start),
    ):
        pass


def test_a_process_that_dies_is_no_traceback(run):
    with (
        Template(["false"]) as starts,
        refused(EnvironmentProblem, "measuring-died", "slim in torch", "status 1"),
        Worker(request(run), starts.start),
    ):
        pass


@pytest.fixture
def searched(tmp_path):
    """A function that makes a run of a strategy whose search skipped every candidate."""
    gates = [log_entry(LAYERS, reward=0.5, gates=dict.fromkeys(LAYERS, 0.1), trained=1)]
    scores = [log_entry(LAYERS, value=0.5), log_entry(["FL0", "FV0"], value=0.25)]
    logs = {"das": gates, "auto": scores, "random": scores[:1]}
    return lambda strategy: make_run(tmp_path / strategy, strategy=strategy, log=logs[strategy])


def test_a_report_says_who_chose_the_layers(run, searched):
    assert describe_result(build_report(run))[0] == "2 layers removed, named by hand: FL1, FV0."
    das_, random = build_report(searched("das")), build_report(searched("random"))
    assert describe_result(das_)[0] == "2 of 2 candidate layers removed (strategy das): FL1, FV0."
    assert describe_result(random)[0] == "2 of 2 candidate layers removed (strategy random): FL1, FV0."


def test_a_report_says_why_these_layers(searched):
    """By gates where there are any, else by scores of subsets of one size, if there is more than one."""
    found = {
        strategy: [
            table for table in tabulate_report(build_report(searched(strategy))) if table.title.startswith("Why")
        ]
        for strategy in ("das", "auto", "random")
    }
    assert "highest gates" in found["das"][0].title
    assert found["das"][0].rows[0][:3] == ("FL1", "+0.100", "0.500")
    assert [row[:3] for row in found["auto"][0].rows] == [("FL1", "50.00", "25.00")]  # both skip FV0
    assert found["random"] == []


def test_a_report_draws_the_layers_of_the_full_model(run):
    slim = run.load_slim()
    drawn = {line.split()[0]: line.split()[1:] for line in build_report(run).picture}
    assert drawn["FL"] == [REPLACED if f"FL{i}" in slim.skipped else KEPT for i in range(slim.dims.fusion_layers)]
    assert sum(len(marks) for marks in drawn.values()) == len(slim.layers) + len(slim.skipped)


def test_an_export_that_failed_stays_in_the_report(searched):
    made = searched("das")
    found = Comparison(status="failed", reason="an output is 1.0e+00 off", tolerance=1e-4)
    (made.path / "exports").mkdir()
    parity_record = record("a runtime", "fp32", found, ())
    (made.path / "exports" / "model.onnx.parity.json").write_text(parity_record.model_dump_json())
    written = save_report(made)
    assert [entry.parity.status for entry in written.exports] == ["failed"]
    assert "exports" not in {entry.what for entry in written.not_measured}
    assert "model.onnx failed its comparison and was removed: an output is 1.0e+00 off." in describe_result(written)
    assert "| failed |" in (made.path / "report.md").read_text()


def test_skip_adapters_that_a_checkpoint_brought_along_do_not_count(tmp_path):
    checkpoint = GOLDEN / "das_meter_tiny_vqa.ckpt"
    made = make_run(tmp_path / "tiny", checkpoint=checkpoint)
    full = made.load_full()
    idle = sum(p.numel() for p in full.skips.parameters())
    assert idle > 0
    costs = made.manifest.costs
    assert costs.parameters.full == sum(p.numel() for p in full.parameters()) - idle
    assert costs.weight_bytes.full == weight_bytes(full) - 4 * idle


def test_a_run_folder_that_cannot_be_written(searched, report):
    made = searched("das")
    for name in (".report.json.tmp", ".profile.json.tmp"):
        (made.path / name).mkdir()
    with refused(EnvironmentProblem, "cannot-write", made.path):
        save_report(made)
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        profiles.comparison.profile_run.save_profile(made, report)


def test_how_long_a_profile_takes_and_shorter_ones():
    both = ("torch", "onnxruntime")
    assert describe_time(both, 20, layers=False, questions=False) == (
        "timing in torch, onnxruntime: 40 s to 60 s; --seconds 5 10 s to 15 s; --runtime torch 20 s to 30 s"
    )
    assert describe_time(both[:1], 5, layers=False, questions=False) == "timing in torch: 5 s to 8 s"
    sweeps = parse_sweeps(("batch=1,8", "text-length=4,8"))
    more = describe_time(both, 60, sweeps, layers=True, questions=True)
    assert more.startswith("timing in torch, onnxruntime: 7 min to 10 min; --seconds 5 35 s to 52 s;")

"""Full and slim in every precision of a runtime: which are measured, their scores, and their table."""

import json
import shutil

import pytest
import torch

import das as api
from compressor.errors import CheckFailed, InputError, Problem
from compressor.evaluation.reference import fingerprint_of, of_full, open_reference
from compressor.progress import QUIET
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from exporters.checks.records import MetricChange, read_record, record_of
from exporters.folder import ExportsFolder, exports_of
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from profiles.comparison import variants
from profiles.comparison.full_vs_slim import NOT_EXPORTED, NotMeasured, ProfileReport, Scores, Variant
from profiles.comparison.matching_exports import precisions_of, runtimes_to_measure
from profiles.comparison.profile_run import measure_run
from profiles.comparison.variant_scores import answered_in_pytorch, read_answered
from profiles.reports.profile_tables import describe_call, describe_variants, tabulate_variants
from profiles.timing.latency import summarise_times
from profiles.timing.speedups import estimate_speedup
from tests.support.command_line import refused
from tests.support.reports import profile_of
from tests.support.workers import in_threads

ORT, CELLS = "onnxruntime", ("full fp32", "full int8", "slim fp32", "slim int8")


def variant(which, ms, full, after, size):
    """A model in int8 whose every call took as long."""
    times = summarise_times([ms] * 20)
    score = MetricChange(metric="accuracy", before=0.9, after=after, margin=0.02)
    return Variant(
        which=which,
        precision="int8",
        latency=times,
        file_bytes=size,
        speedup=estimate_speedup(full, times),
        score=score,
    )


@pytest.fixture
def made_up():
    """A profile of four cells: 10 and 5 ms in fp32, 4 and 2 in int8."""
    report = profile_of(**{ORT: ([10.0] * 20, [5.0] * 20)})
    (pair,) = report.runtimes
    others = (variant("full", 4.0, pair.full, 0.89, 6 * 10**5), variant("slim", 2.0, pair.full, 0.87, 3 * 10**5))
    full, slim = (MetricChange(metric="accuracy", before=0.9, after=after, margin=0.02) for after in (0.9, 0.88))
    runtime = pair.model_copy(update={"scores": Scores(full=full, slim=slim), "others": others})
    sizes = {"text_length": 48, "image_size": (36, 72), "scored": 200}
    return report.model_copy(update={"runtimes": (runtime,), **sizes})


def test_one_table_has_score_time_and_size_of_full_and_slim_in_each_precision(made_up):
    table = tabulate_variants(made_up)
    assert table.title == "In turns: batch 1, 48 tokens, 36 x 72 px, cpu, 1 CPU thread"
    assert table.rows == (
        ("onnxruntime, full fp32", "90.00", "10.0", "", "", "2.00 MB", ""),
        ("onnxruntime, full int8", "89.00", "4.00", "2.50x", "2.50-2.50", "600.00 kB", "-70.0%"),
        ("onnxruntime, slim fp32", "88.00", "5.00", "2.00x", "2.00-2.00", "1.00 MB", "-50.0%"),
        ("onnxruntime, slim int8", "87.00", "2.00", "5.00x", "5.00-5.00", "300.00 kB", "-85.0%"),
    )
    assert describe_variants(made_up) == (
        "score: accuracy, %, of the 200 evaluation samples that certify exports",
        "onnxruntime: int8 alone 2.50x, the cut alone 2.00x, both 5.00x faster than the full model in fp32",
    )
    assert ProfileReport.model_validate_json(made_up.model_dump_json()) == made_up


def test_a_precision_that_full_does_not_pass_in_is_no_gap_in_silence(made_up):
    (runtime,) = made_up.runtimes
    slim_alone = made_up.model_copy(update={"runtimes": (runtime.model_copy(update={"others": runtime.others[1:]}),)})
    assert "int8 alone not measured, the cut alone 2.00x, both 5.00x faster" in describe_variants(slim_alone)[-1]


def test_a_precision_that_nobody_exported_names_the_command(made_up):
    missing = NotMeasured(what="int8 in onnxruntime", why=f"{NOT_EXPORTED}: das export --precision int8")
    lines = describe_variants(made_up.model_copy(update={"not_measured": (missing,)}))
    assert lines[-1] == "int8 in onnxruntime: not exported: das export --precision int8"


def test_profiles_of_earlier_versions_say_what_they_can(made_up):
    old = made_up.model_dump(mode="json", exclude={"text_length", "image_size", "scored"})
    for name in ("precision", "scores", "others"):
        del old["runtimes"][0][name]
    report = ProfileReport.model_validate_json(json.dumps(old))
    assert describe_call(report) == "batch 1, cpu, 1 CPU thread"
    assert [row[:2] for row in tabulate_variants(report).rows] == [
        ("onnxruntime, full fp32", ""),
        ("onnxruntime, slim fp32", ""),
    ]
    assert describe_variants(report) == ()


@pytest.mark.parametrize(
    ("files", "runtime", "device", "found"),
    [
        ((), "torch", "cpu", ["fp32"]),
        ((), ORT, "cpu", ["fp32"]),
        (("model.onnx", "model.int8.onnx"), ORT, "cpu", ["fp32", "int8"]),
        (("model.fp16.onnx",), ORT, "cpu", ["fp32", "fp16"]),
        (("model.bf16.onnx", "model.int8.b1.onnx", "model.int8.qdq.onnx"), ORT, "cpu", ["fp32"]),
        (("model.bf16.onnx",), ORT, "cuda", ["fp32", "bf16"]),
    ],
)
def test_precisions_are_those_that_slim_was_exported_in(tmp_path, files, runtime, device, found):
    for name in files:
        (tmp_path / name).touch()
    precisions = precisions_of(find_runtime(runtime), ExportsFolder(tmp_path), device)
    assert [precision.name for precision in precisions] == found


def test_a_runtime_without_an_engine_and_nothing_beside_it_is_refused(tmp_path):
    runtimes, asked = [find_runtime(name) for name in ("torch", "tensorrt")], [PRECISIONS["int8"]]
    folder = ExportsFolder(tmp_path)
    with refused(InputError, "export-missing", "PyTorch has no int8; not exported: das export --to tensorrt"):
        runtimes_to_measure(runtimes, folder, "cuda", asked)
    assert runtimes_to_measure(runtimes, folder, "cuda", [PRECISIONS["fp32"], *asked]) == runtimes[:1]


def bench_of(run):
    slim = exports_of(run)
    models = {"full": variants.Model(None, slim.full()), "slim": variants.Model(None, slim)}
    return variants.Bench(run, models, 1, 1, 0.1, "cpu", QUIET, None)


@pytest.mark.slow
def test_full_is_exported_certified_and_timed_like_slim(shared_exports, tmp_path, monkeypatch):
    in_threads(monkeypatch)
    shutil.copytree(shared_exports, tmp_path / "run")
    run = open_run(tmp_path / "run")
    api.export(run, "onnx", precision="int8")
    folder, runtime = exports_of(run), find_runtime(ORT)
    report = measure_run(run, runtimes=[ORT], seconds=0.01, threads=1, device="cpu")
    cells = {cell.name: cell for cell in report.runtimes[0].variants}
    assert tuple(cells) == CELLS
    assert "int8 in onnxruntime" not in {entry.what for entry in report.not_measured}

    answers, task = run.answers(), TASKS[run.manifest.task]
    scores = {
        which: float(task.scores(answers[which], {"targets": answers["targets"]}).double().mean())
        for which in ("full", "slim")
    }
    files = {
        f"{which} {precision.name}": exports.path_for(runtime, precision)
        for which, exports in (("full", folder.full()), ("slim", folder))
        for precision in precisions_of(runtime, folder, "cpu")
    }
    assert report.scored == len(answers["numbers"])
    for name, cell in cells.items():
        certificate = read_record(files[name]).certificate
        assert certificate.samples == report.scored
        assert certificate.fingerprint == fingerprint_of(run)
        own = certificate.metric if cell.which == "full" else certificate.metric_against_full
        assert cell.score == own
        assert cell.score.before == pytest.approx(scores["full"])
        assert certificate.metric.before == pytest.approx(scores[cell.which])
        assert cell.file_bytes == files[name].stat().st_size
        assert cell.latency.n == len(cell.latency.samples_ms) > 0
        assert (cell.speedup is None) == (name == "full fp32")
    assert cells["full int8"].file_bytes < cells["full fp32"].file_bytes
    in_torch = answered_in_pytorch(run)
    assert (in_torch["full"].score.after, in_torch["slim"].score.after) == pytest.approx(
        (scores["full"], scores["slim"])
    )

    def again(*settings, **options):
        pytest.fail("exported again")

    monkeypatch.setattr("profiles.comparison.matching_exports.export", again)
    assert variants.export_missing([runtime], bench_of(run)) == []
    # What was certified on other samples has no score beside these.
    record = json.loads(record_of(files["slim int8"]).read_text())
    record["certificate"]["fingerprint"] = "others"
    record_of(files["slim int8"]).write_text(json.dumps(record))
    missing = read_answered(run, "slim", files["slim int8"])
    assert missing == NotMeasured(
        what="score of slim in model.int8.onnx",
        why="certified on other samples than those the run was judged on",
    )


def test_full_that_fails_in_int8_leaves_the_others(shared_run, monkeypatch, tmp_path):
    shutil.copytree(shared_run.path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    exports_of(run).path.mkdir()
    for name in ("model.onnx", "model.int8.onnx"):
        (exports_of(run).path / name).touch()

    def fail(wanted, slim):
        if wanted.precision.name == "int8":
            raise CheckFailed(Problem("parity-failed", "accuracy falls by 9 points", "", ""))

    monkeypatch.setattr(variants, "make_full", fail)
    (entry,) = variants.export_missing([find_runtime(ORT)], bench_of(run))
    assert (entry.what, entry.why) == ("full int8 in onnxruntime", "accuracy falls by 9 points")


def test_answers_of_the_full_model_stand_for_its_exports(shared_run):
    reference = open_reference(shared_run)
    full = of_full(shared_run, reference)
    assert torch.equal(full.slim, reference.full)
    assert full.full is None
    untrained = of_full(shared_run, of_full(shared_run, reference))
    assert (untrained.slim, untrained.targets) == (None, None)

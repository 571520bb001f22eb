"""``das export`` without options: what runs fastest here and keeps the answers, and nothing else."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import das as api
from compressor.errors import CheckFailed, EnvironmentProblem, Problem, UsageError
from compressor.evaluation.reference import open_reference
from compressor.progress import QUIET
from das.predict import choose_way
from das.results import Exports
from exporters.checks.records import MetricChange, Parity, read_record
from exporters.export import certify_draft, draft
from exporters.request import Request
from exporters.runtimes import find_runtime
from exporters.runtimes.onnxruntime import OnnxRuntime
from exporters.runtimes.sessions import OnnxRunner
from profiles.deployment import best_export
from profiles.deployment.best import BEST, Best, Tried, describe_best, list_reasons, read_best, tabulate_best
from profiles.machine.environment import describe_environment
from profiles.timing.speedups import Speedup
from tests.exporters.test_export import copied_instead
from tests.profiles.comparison.test_profile_run import make_run
from tests.support.command_line import das, refused, stopped
from tests.support.tiny_exports import slim_onnx
from tests.support.workers import in_threads


@pytest.fixture
def only_onnxruntime(monkeypatch):
    """A machine whose only runtime of files is ONNX Runtime."""
    ort = find_runtime("onnxruntime")
    monkeypatch.setattr(best_export, "RUNTIMES", (find_runtime("torch"), ort))


def test_the_fastest_is_kept_with_its_evidence_and_the_others_are_gone(tmp_path, monkeypatch, only_onnxruntime):
    in_threads(monkeypatch)
    copied_instead(monkeypatch, slim_onnx)
    monkeypatch.setattr(best_export, "CLOSE", 1e9)
    run = make_run(tmp_path / "run")
    done = das("export", run.path, "--json")
    assert done.exit_code == 0, done.stderr
    report = Exports.model_validate(json.loads(done.stdout))
    best, folder = report.best, run.path / "exports"
    assert read_best(folder) == best
    assert {(entry.runtime, entry.precision) for entry in best.tried} == {("onnxruntime", n) for n in ("fp32", "int8")}
    assert (best.kept.outcome, best.kept.slower) == ("kept", None)
    assert best.tried[1].slower.pairs > 1
    assert {entry.what for entry in best.left_out} == {"fp16 in onnxruntime", "bf16 in onnxruntime"}
    # Of the two one is left, certified, and what answers by default.
    files = {path.name for path in folder.iterdir()}
    kept = best.kept.file
    assert {name for name in files if name.startswith("model.")} == {kept, f"{kept}.parity.json"}
    assert report.exports[0].files == (kept,)
    record = read_record(folder / kept)
    assert record.certificate.samples == 3
    assert record.sha256.keys() == {kept}
    assert choose_way(run) == ("onnxruntime", best.kept.precision)
    assert choose_way(run, "fp16") == ("torch", "fp32")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(OnnxRuntime, "refuses", lambda *_: "no such products")
        assert choose_way(run) == ("torch", "fp32")
    assert das("verify", run.path).exit_code == 0
    assert best.kept.file in describe_best(best)
    assert len(tabulate_best(best).rows) == 2
    assert any(
        line.startswith("not tried, bf16 in onnxruntime: ONNX Runtime has no bf16") for line in list_reasons(best)
    )
    (folder / kept).unlink()
    assert choose_way(run) == ("torch", "fp32")
    (folder / BEST).write_text("{")
    assert read_best(folder) is None


def parity(status="passed", after=0.9, reason=""):
    change = MetricChange(metric="accuracy", before=0.9, after=after, margin=0.0)
    certificate = SimpleNamespace(metric=change)
    record = Parity(status=status, reason=reason, tolerance=1, runtime="", precision="int8", versions={}, sha256={})
    return record.model_copy(update={"certificate": certificate})


@pytest.fixture
def choose(monkeypatch):
    """Choose among files with these records, the fastest first."""

    def choose(**records):
        monkeypatch.setattr(best_export, "certify_draft", lambda artifact, made, reference: records[artifact])
        order = [SimpleNamespace(name=name, artifact=name, made=None) for name in records]
        chosen, certified = best_export._choose(order, None, QUIET)
        return chosen.name, list(certified)

    return choose


def test_one_that_costs_too_much_makes_room_for_the_next_which_alone_is_certified_then(choose):
    assert choose(int8=parity(after=0.89), bf16=parity(), fp32=parity()) == ("bf16", ["int8", "bf16"])
    assert choose(int8=parity("failed", reason="an output is off"), fp32=parity()) == ("fp32", ["int8", "fp32"])
    assert choose(int8=parity(after=0.898), fp32=parity()) == ("int8", ["int8"])
    with refused(CheckFailed, "parity-failed", "accuracy -1.00 ± 0.00 points, more than 0.3 and chance"):
        choose(int8=parity(after=0.89))


def test_what_is_close_to_the_fastest_or_the_best_of_its_runtime_is_timed_again():
    times = {"a": ("ov", 10.0), "b": ("ov", 12.9), "c": ("ov", 13.1), "d": ("ort", 40.0)}
    candidates = [
        SimpleNamespace(name=name, runtime=SimpleNamespace(name=runtime), first=SimpleNamespace(min_ms=ms))
        for name, (runtime, ms) in times.items()
    ]
    assert [one.name for one in best_export._find_close(candidates)] == ["a", "b", "d"]


def test_what_is_clearly_slower_than_another_of_its_runtime_is_not_compared():
    ov, ort = find_runtime("openvino"), find_runtime("onnxruntime")
    made = [SimpleNamespace(runtime=ort, first=SimpleNamespace(min_ms=10.0))]

    def close(runtime, ms):
        return best_export._may_be_close(SimpleNamespace(min_ms=ms), runtime, made)

    assert best_export._may_be_close(SimpleNamespace(min_ms=10.0), ort, [])
    assert close(ov, 100.0)  # the best of its runtime so far
    assert close(ort, 13.0)
    assert not close(ort, 13.1)
    assert close(ort, 9.0)


def test_a_file_that_is_left_behind_is_not_asked_and_one_that_is_kept_is_asked_once(tmp_path, monkeypatch):
    asked = []
    run = OnnxRunner.run
    monkeypatch.setattr(
        OnnxRunner, "run", lambda self, inputs: asked.append(len(inputs["input_ids"])) or run(self, inputs)
    )
    copied_instead(monkeypatch, slim_onnx)
    run_ = make_run(tmp_path / "run")
    model, reference, answers = run_.load_slim(), open_reference(run_), []
    model.register_forward_hook(lambda *_: answers.append(1))
    request = Request(model, run_.samples(), tmp_path, reference=reference, progress=QUIET)
    (artifact,) = find_runtime("onnxruntime").artifacts(request)
    left = draft(artifact, lambda runner: False)
    assert (left.parity.status, asked) == ("not verified", [])
    made = draft(artifact)
    first = list(asked)
    assert len(answers) == 1  # the shortest text: what it answers to the others it has answered in the run
    assert made.parity.certificate.samples == 3
    record = certify_draft(artifact, made, reference)
    assert asked == first
    assert record.certificate == made.parity.certificate
    certify_draft(artifact, left, reference)
    assert asked == first * 2


def test_nothing_that_runs_here_is_an_error_that_says_why(shared_run, tmp_path, monkeypatch, only_onnxruntime):
    gone = {"onnxruntime": Problem("onnxruntime-missing", "no onnxruntime", "it", "pip install it")}
    monkeypatch.setattr(best_export, "obstacles", lambda device: gone)
    run = replace(shared_run, path=tmp_path)
    with refused(EnvironmentProblem, "nothing-to-deploy", "onnxruntime: no onnxruntime; pip install it"):
        reference = open_reference(shared_run)
        best_export._make_candidates(shared_run, shared_run.load_slim(), reference, run.path, "cpu", 1, QUIET)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--to", "best,onnx"), "with onnx"),
        (("--to", "best", "--precision", "int8"), "with --precision"),
        (("--to", "best", "--batch", "1:2:4"), "with --batch"),
    ],
)
def test_best_chooses_alone(shared_run, options, found):
    stopped(das("export", shared_run.path, *options), 2, "best-not-alone", found)


def test_a_batch_that_cannot_be_and_options_without_a_runtime(shared_run):
    stopped(das("export", shared_run.path, "--to", "best", "--batch", 0), 2, "size-too-small", "--batch 0")
    with refused(UsageError, "no-runtime-named"):
        api.export(shared_run, precision="int8")


def test_best_is_read_as_it_was_written(tmp_path):
    assert read_best(tmp_path) is None
    assert Best.model_fields["schema_version"].default == 1


@pytest.mark.parametrize(("runtime", "precision"), [("torch", "fp32"), ("another", "fp32"), ("onnxruntime", "int3")])
def test_a_best_export_that_das_does_not_know_is_none(tmp_path, runtime, precision):
    tried = Tried(runtime=runtime, precision=precision, file="model", bytes=1, p50_ms=1.0, outcome="kept")
    best = Best(tried=(tried,), batch=1, text_length=4, left_out=(), environment=describe_environment("cpu", 1))
    for damaged in (best, best.model_copy(update={"tried": ()})):
        (tmp_path / BEST).write_text(damaged.model_dump_json())
        assert read_best(tmp_path) is None


def test_what_costs_too_much_is_no_rival_of_what_is_kept():
    kept = Tried(runtime="onnxruntime", precision="fp32", file="model.onnx", bytes=1, p50_ms=2.0, outcome="kept")
    slower = Speedup(ratio=0.5, low=0.4, high=0.6, pairs=3)
    costly = kept.model_copy(
        update={"precision": "int8", "slower": slower, "agreement": 0.9, "outcome": "accuracy -1.00 ± 0.00 points"}
    )
    best = Best(tried=(kept, costly), batch=1, text_length=4, left_out=(), environment=describe_environment("cpu", 1))
    assert describe_best(best).endswith("model.onnx: nothing else that keeps the answers came close.")
    assert "accuracy -1.00" in list_reasons(best)[0]

"""The whole compression: what it trains, what it saves, and that an interrupted one ends where it would have."""

import json
import signal

import pytest
import torch

from compressor.errors import CheckFailed, Interrupted
from compressor.evaluation import evaluate
from compressor.job import Settings, prepare
from compressor.pipeline import compress
from compressor.progress import Progress
from compressor.runs import open_run
from compressor.tasks import TASKS
from compressor.training import PAPER_LEARNING_RATE, PAPER_STEPS, scaled_learning_rate
from tests.support import GOLDEN, das

QUICK = {"search_epochs": 2.0, "recover_epochs": 1.0, "batch_size": 32}


def settings(**changes):
    return Settings(**({"checkpoint": "meter.ckpt", "task": "vqa", "skip": 8, **QUICK} | changes))


def weights(run):
    return run.load_slim().state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_folder_holds_what_the_contract_says(shared_run):
    names = {path.name for path in shared_run.path.iterdir()}
    assert names >= {
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "preprocessor.json",
        "labels.json",
        "search.jsonl",
    }
    manifest = json.loads((shared_run.path / "manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert len(manifest["plan"]["skip"]) == 8
    assert len(manifest["source"]["sha256"]) == 64
    assert {split["name"] for split in manifest["data"]} == {"train", "val", "test"}
    for entry in shared_run.search_log():
        assert set(entry) == {"update", "step", "layers", "loss", "reward", "gates", "seconds"}
        assert len(entry["layers"]) == 8
        assert len(entry["gates"]) == 12


def test_only_the_adapters_of_the_choice_are_trained(shared_run):
    full, slim = shared_run.load_full().state_dict(), shared_run.load_slim()
    skipped = {f"blocks.{name}" for name in slim.skipped}
    for name, value in slim.state_dict().items():
        if ".".join(name.split(".")[:2]) not in skipped:
            assert torch.equal(value, full[name]), name
    assert any(slim.blocks[name].up_proj.weight.abs().sum() > 0 for name in slim.skipped)
    assert shared_run.manifest.trained_parameters == sum(
        p.numel() for name in slim.skipped for p in slim.blocks[name].parameters()
    )


def test_recovery_brings_accuracy_back(workshop):
    cut = compress(settings(skip=None, layers=("FL*", "FV0-1"), recover_epochs=0.0))
    recovered = compress(settings(skip=None, layers=("FL*", "FV0-1"), recover_epochs=8.0))
    before, after = cut.manifest.results, recovered.manifest.results
    assert before.full == after.full
    assert after.slim.loss < before.slim.loss
    assert after.slim.value > before.slim.value + 0.05
    assert cut.search_log() == []


def test_same_seed_same_layers_same_weights(workshop):
    first, second = compress(settings(seed=3)), compress(settings(seed=3))
    assert first.path != second.path
    assert first.manifest.plan == second.manifest.plan
    assert same(weights(first), weights(second))
    assert open_run().path == second.path


class InterruptAt(Progress):
    """Presses Ctrl-C in the middle of a stage."""

    def __init__(self, label, step):
        self.label, self.step = label, step

    def track(self, items, label, total=None):
        for number, item in enumerate(items):
            if self.label in label and number == self.step:
                signal.raise_signal(signal.SIGINT)
            yield item


@pytest.mark.parametrize(("stage", "step"), [("Searching", 3), ("Searching", 17), ("Recovering", 5)])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(workshop, stage, step):
    whole = compress(settings(out="runs/whole"))
    with pytest.raises(Interrupted, match="--resume"):
        compress(settings(out="runs/broken"), progress=InterruptAt(stage, step))
    assert not (workshop / "runs" / "broken").exists()
    assert (workshop / "runs" / "broken.partial" / "state.pt").exists()
    resumed = compress(settings(out="runs/broken"), resume=True)
    assert resumed.manifest.plan == whole.manifest.plan
    assert same(weights(resumed), weights(whole))
    assert [{**e, "seconds": 0} for e in resumed.search_log()] == [{**e, "seconds": 0} for e in whole.search_log()]
    assert not (workshop / "runs" / "broken.partial").exists()


def test_ctrl_c_before_the_training_leaves_nothing(workshop):
    with pytest.raises(KeyboardInterrupt):
        compress(settings(), progress=InterruptAt("Evaluating the full", 0))
    assert not list((workshop / "runs").iterdir())


def test_resume_with_other_settings_is_refused(workshop):
    with pytest.raises(Interrupted):
        compress(settings(out="runs/broken"), progress=InterruptAt("Searching", 3))
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 6, "--out", "runs/broken", "--resume")
    assert result.exit_code == 3
    assert "other settings (skip" in " ".join(result.stderr.split())
    assert (workshop / "runs" / "broken.partial" / "state.pt").exists()


def test_nothing_to_resume(workshop):
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 8, "--resume")
    assert result.exit_code == 3
    assert "no interrupted run" in result.stderr


def test_scopes(workshop):
    model = prepare(settings(scope="global"))
    assert model.candidates[:2] == ("LEn0", "LEn1")
    assert len(model.candidates) == 14
    assert len(prepare(settings(scope="all")).candidates) == 16
    assert prepare(settings(scope="FL*,LEn0-1", skip=2)).candidates == ("LEn0", "LEn1", *(f"FL{i}" for i in range(6)))


def test_a_global_search_skips_encoder_layers_too(workshop):
    run = compress(settings(scope="global", skip=14))
    assert {"LEn0", "LEn1"} <= set(run.manifest.plan.layers)
    assert "LEn0" not in run.load_slim().layers


def test_random_strategy_is_seeded(workshop):
    run = compress(settings(strategy="random", recover_epochs=0.0))
    again = compress(settings(strategy="random", recover_epochs=0.0))
    assert run.manifest.plan == again.manifest.plan
    assert run.manifest.strategy == "random"


def test_adapting_a_pre_trained_checkpoint(workshop):
    run = compress(
        settings(checkpoint=str(GOLDEN / "meter_tiny_pretrain.ckpt"), adapt=True, tokenizer="tokenizer.json", skip=1)
    )
    slim = run.load_slim()
    assert run.manifest.results.full is None
    assert slim.dims.parallel_width == 4
    kept = next(name for name in ("FL0", "FV0") if name not in slim.skipped)
    assert slim.blocks[kept].adapter.up_proj.weight.abs().sum() > 0
    start = run.load_full().state_dict()
    moved = {name for name, value in slim.state_dict().items() if name in start and not torch.equal(value, start[name])}
    assert moved
    assert all(".adapter." in name or name.startswith("epilogue.") for name in moved)


def test_the_report_command_and_evaluation_agree(run_here, shared_run):
    result = das("eval", run_here, "--data", "data", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["value"] == pytest.approx(shared_run.manifest.results.slim.value)


def test_vqa_score_and_loss_follow_their_definitions(shared_workshop):
    job = prepare(settings(checkpoint=str(shared_workshop / "meter.ckpt"), data=str(shared_workshop / "data")))
    result = evaluate(job.model, job.data.evaluation, TASKS["vqa"])
    batch = job.data.evaluation.batch(range(len(job.data.evaluation)))
    with torch.no_grad():
        logits = job.model(**{name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")})
    probability = logits.sigmoid().clamp(1e-7, 1 - 1e-7)
    entropy = -(batch["targets"] * probability.log() + (1 - batch["targets"]) * (1 - probability).log())
    assert result.score.loss == pytest.approx(float(entropy.sum(-1).mean()), rel=1e-4)
    best = logits.argmax(-1)
    assert result.score.value == pytest.approx(float(batch["targets"][range(len(best)), best].mean()))


def test_learning_rate_is_the_papers_at_the_papers_size():
    assert scaled_learning_rate(768, PAPER_STEPS) == pytest.approx(PAPER_LEARNING_RATE)
    assert scaled_learning_rate(64, 500) > scaled_learning_rate(768, 500)


def test_data_that_do_not_fit_into_memory_give_the_same_result(workshop, monkeypatch):
    kept = compress(settings())
    monkeypatch.setattr("compressor.encoding.MEMORY_SHARE", 0.0)
    streamed = compress(settings())
    assert kept.manifest.plan == streamed.manifest.plan
    for name, value in weights(kept).items():
        torch.testing.assert_close(value, weights(streamed)[name], atol=1e-3, rtol=0)


def test_check_failed_is_exit_4():
    assert CheckFailed.exit_code == 4

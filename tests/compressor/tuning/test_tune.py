"""A tuning from checkpoint to folder: what it changes, that it resumes bit for bit, and loads as it was scored."""

import json
import signal
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MPNetConfig, MPNetForSequenceClassification

import das
from compressor.costs.parts import without_adapters
from compressor.errors import CheckFailed, InputError, Interrupted, UsageError
from compressor.evaluation.evaluate import evaluate
from compressor.files import TUNED_FILE
from compressor.tuning.apply_method import is_head
from compressor.tuning.methods import METHODS
from compressor.tuning.prepare_tuning import prepare_tuning
from compressor.tuning.tune import tune
from compressor.tuning.tune_settings import TuneSettings
from compressor.tuning.tuned import TENSORS, open_tuned
from profiles.timing.latency import take_turns
from tests.support.command_line import GOLDEN, refused, stopped
from tests.support.command_line import das as command
from tests.support.progress import StepProgress

# Of a layer of RoBERTa the weights that differ from the checkpoint's afterwards, merged; of the others none does.
CHANGED = {
    "lora": ("attention.self.query.weight", "attention.self.value.weight"),
    "prefix": (),
    "adapter": (),
    "mam": (),
}


def settings(method, **options):
    quick = {"data": "data", "epochs": 3, "batch_size": 16, "device": "cpu", "out": method}
    return TuneSettings(**{"checkpoint": "roberta", "method": method} | quick | options)


def plain_name(name):
    """The name of a weight in the checkpoint's model."""
    for part in ("projection.", "part."):
        name = name.replace(f".{part}", ".")
    return name


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_what_it_says_and_loads_as_it_was_scored(sentences, method):
    tuned = tune(settings(method))
    assert tuned == open_tuned(method) and (tuned.method, tuned.seed, tuned.steps) == (method, 0, 9)
    tuning = prepare_tuning(settings(method, out=None))
    job, before = tuning.job, without_adapters(tuning.job.model).state_dict()
    model = tuned.load()
    scored = evaluate(model, job.data.evaluation, job.task).score
    assert scored.value == tuned.score.value and scored.loss == pytest.approx(tuned.score.loss, abs=1e-6)
    own = {plain_name(name): x for name, x in model.state_dict().items() if ".adapter." not in name}
    changed = {name for name, x in own.items() if name in before and not torch.equal(x, before[name])}
    trunk = {name for name in changed if not is_head(name)}
    if method in CHANGED:
        expected = {
            f"blocks.En{i}.layer.{path}"
            for i in range(tuned.dims["config"]["num_hidden_layers"])
            for path in CHANGED[method]
        }
    else:
        floats = (name for name, _ in job.model.named_parameters() if ".adapter." not in name and not is_head(name))
        expected = {name for name in floats if method == "full" or name.endswith(".bias")}
    # Rows of the embeddings that no text has have no gradient, biases of keys next to none.
    assert trunk <= expected and len(expected - trunk) <= len(expected) // 4
    assert any(is_head(name) for name in changed)
    tensors = load_file(f"{method}/{TENSORS}")
    assert sum(x.numel() for x in tensors.values()) == sum(tuned.updated_parameters.values())
    assert tuned.versions.keys() >= {"torch", *(["peft"] if method == "lora" else [])}


@pytest.mark.parametrize("method", ["bitfit", "mam", "lora"])
def test_resumed_it_ends_as_if_nobody_had_disturbed_it(sentences, method):
    whole = tune(settings(method))

    class Stop(StepProgress):
        def step(self, label, number):
            if label.startswith("Training by") and number == 4:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="--resume"):
        tune(settings(method, out="broken"), Stop())
    with refused(InputError, "settings-changed", "epochs"):
        tune(settings(method, out="broken", epochs=4), resume=True)
    resumed = tune(settings(method, out="broken"), resume=True)
    for name, tensor in load_file(f"broken/{TENSORS}").items():
        assert torch.equal(tensor, load_file(f"{method}/{TENSORS}")[name]), name
    assert resumed.score == whole.score
    assert tune(settings(method, out="broken"), resume=True) == resumed  # it was complete


def test_a_rate_that_blows_up_is_stopped_and_leaves_nothing(sentences):
    with refused(CheckFailed, "training-diverged", "--learning-rate"):
        tune(settings("full", learning_rate=1e30, epochs=6))
    assert not [path for path in sentences.iterdir() if path.name.startswith("full")]


def test_models_of_several_methods_are_timed_in_turns(sentences):
    models = {method: tune(settings(method, epochs=1)).load() for method in ("lora", "mam")}
    batch = prepare_tuning(settings("full", out=None)).job.sample()
    turns = {name: lambda model=model: [float(model(**batch).sum())] for name, model in models.items()}
    assert take_turns(turns, seconds=0, least_turns=2).keys() == models.keys()


def test_a_meter_is_tuned_in_its_fusion_layers_alone(workshop):
    tuned = das.tune("meter.ckpt", "mam", "vqa", data="data", epochs=0.3, batch_size=48, device="cpu", out="mam")
    names = {name.split(".")[1] for name in load_file(f"mam/{TENSORS}") if name.startswith("blocks.")}
    assert names == {f"{side}{i}" for side in ("FL", "FV") for i in range(6)}
    tuning = prepare_tuning(TuneSettings(checkpoint="meter.ckpt", method="mam", task="vqa", data="data", device="cpu"))
    assert {step.name for round_ in tuning.fixed for step in round_} >= {"LEn0", "VEn0"}
    batch = tuning.job.sample()
    assert batch.keys() == {"input_ids", "attention_mask", "pixel_values"}
    with torch.no_grad():
        assert tuned.load()(**batch).isfinite().all()
    assert tuned.additional_macs > 0


def test_what_is_damaged_or_gone_is_named(sentences):
    tuned = tune(settings("bitfit", epochs=1))
    with refused(InputError, "tuned-missing", "elsewhere"):
        open_tuned("elsewhere")
    tensors = load_file(f"bitfit/{TENSORS}")
    save_file(dict(list(tensors.items())[1:]), f"bitfit/{TENSORS}")
    with refused(InputError, "tuned-damaged", TENSORS):
        tuned.load()
    document = json.loads((sentences / "bitfit" / TUNED_FILE).read_text())
    (sentences / "bitfit" / TUNED_FILE).write_text(json.dumps(document | {"steps": "many"}))
    with refused(InputError, "tuned-damaged", "steps"):
        open_tuned("bitfit")
    (sentences / "roberta" / "config.json").write_text((sentences / "roberta" / "config.json").read_text() + "\n")
    with refused(InputError, "checkpoint-changed"):
        tuned.load()


def test_what_a_tuning_left_is_loaded_and_is_no_run_and_no_checkpoint(sentences):
    tuned, inputs = tune(settings("lora", epochs=1)), {"input_ids": torch.arange(4, 12)[None]}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    assert torch.equal(das.load("lora")(**inputs), tuned.load()(**inputs))
    with refused(UsageError, "option-for-a-run"):
        das.load("lora", task="text-classification")
    for asked in (
        ("eval",),
        ("predict",),
        ("verify",),
        ("compare",),
        ("inspect",),
        ("compress", "--adapt", "--skip", 1),
    ):
        stopped(command(asked[0], "lora", *asked[1:]), 3, "tuned-instead-of-model", 'das.load("lora")')


def test_wrong_options_are_reported_together_and_peft_is_asked_for(sentences, monkeypatch):
    wrong = command("tune", "roberta", "--method", "lorra", "--epochs", 0, "--batch-size", 0, "--data", "data")
    stopped(wrong, 2, ["unknown-method", "epochs-not-positive", "batch-size-too-small"], *METHODS, "--epochs 10")
    stopped(command("tune", "roberta", "--method", "lora", "--data", "nowhere"), 3, "data-folder-missing")
    stopped(command("tune", "roberta", "--method", "full", "--epochs", 0.01, "--data", "data"), 2, "tuning-too-short")
    monkeypatch.setitem(sys.modules, "peft", None)
    stopped(command("tune", "roberta", "--method", "lora", "--data", "data"), 5, "peft-missing", "das-toolkit[paper]")


def test_a_method_without_a_place_is_refused_before_any_data_is_read(sentences, monkeypatch):
    words = json.loads((sentences / "roberta" / "config.json").read_text())["vocab_size"]
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    MPNetForSequenceClassification(MPNetConfig(vocab_size=words, **sizes)).save_pretrained("mpnet")
    monkeypatch.setattr("compressor.jobs.prepare_job.read_data", lambda *_, **__: pytest.fail("data was read"))
    given = ("tune", "mpnet", "--data", "data", "--tokenizer", "roberta", "--epochs", 0)
    stopped(command(*given, "--method", "mam"), 2, ["epochs-not-positive", "method-without-place"], "mam for mpnet")


def test_what_is_adapted_already_is_refused(workshop):
    adapted = settings(
        "lora", checkpoint=str(GOLDEN / "das_meter_tiny_vqa.ckpt"), tokenizer="tokenizer.json", task="vqa"
    )
    with refused(InputError, "checkpoint-has-adapters", "adapted from"):
        prepare_tuning(adapted)


def test_the_report_on_the_screen_and_the_plan(sentences):
    given = ("tune", "roberta", "--method", "adapter", "--data", "data", "--epochs", 1, "--batch-size", 16)
    plan = command(*given, "--dry-run")
    assert plan.exit_code == 0 and not (sentences / "runs").exists()
    planned = json.loads(command(*given, "--dry-run", "--json").stdout)
    told = command(*given, "--json")
    tuned = json.loads(told.stdout)
    assert tuned["updated_parameters"] == planned["updated_parameters"] and tuned["steps"] == planned["steps"] == 3
    assert tuned["additional_macs"] == planned["additional_macs"] > 0
    screen = command(*given)
    for text in (plan.stdout, screen.stdout):
        assert all(len(line) <= 80 or line.startswith("would write") for line in text.splitlines())
        assert "LayerNorms of the adapters" in text and "Houlsby" in text
    assert f"{100 * tuned['score']['value']:.2f} ± " in screen.stdout
    assert "runs/roberta-text-classification-adapter-2" in screen.stdout

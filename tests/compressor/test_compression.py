"""The whole compression: what it trains, what it saves, and that an interrupted one ends where it would have."""

import json
import math
import signal
from dataclasses import replace

import pytest
import torch
from transformers import RobertaConfig, RobertaForMaskedLM

import das as das_package
from compressor.architectures.meter import READOUT
from compressor.compression import compress
from compressor.data.generated.questions import write_scenes
from compressor.errors import CheckFailed, InputError, Interrupted, UsageError
from compressor.evaluation.evaluate import evaluate
from compressor.families import FAMILIES
from compressor.jobs.prepare_job import prepare_job
from compressor.saved_run.run_folder import open_run
from compressor.search.result import SearchResult
from compressor.search.reuse import settings_of
from compressor.search.select_layers import draw_layers
from compressor.search.strategies.reference_strategies import RandomOrder
from compressor.search.strategies.strategy import SearchSpace
from compressor.settings import Choice, Settings
from compressor.tasks import TASKS
from compressor.training.optimiser import PAPER_LEARNING_RATE, PAPER_STEPS, scale_learning_rate
from das.demo.checkpoints import prepare_demo
from das.demo.demos import DEMOS
from profiles.macs.formula import count_additional, count_by_part
from tests.support.command_line import GOLDEN, das, refused, stopped
from tests.support.progress import StepProgress
from tests.support.search_logs import without_seconds

ENTRY = {"proposal", "trained", "layers", "divergence", "loss", "reward", "value", "samples", "seconds"}
SHORT = {"search_epochs": 1.0, "recover_epochs": 0.5, "batch_size": 4}
QUICK = {"search_epochs": 2.0, "recover_epochs": 1.0, "batch_size": 32}
FEW = {"scope": "FL0-2,FV0-2", "skip": 3}  # 20 subsets, where any search will do


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
        "search.json",
        "search.jsonl",
    }
    manifest = json.loads((shared_run.path / "manifest.json").read_text())
    assert manifest["schema_version"] == 2
    assert len(manifest["plan"]["skip"]) == 8
    assert len(manifest["source"]["sha256"]) == 64
    assert {split["name"] for split in manifest["data"]} == {"train", "val", "test"}
    lines = [json.loads(line) for line in (shared_run.path / "search.jsonl").read_text().splitlines()]
    assert all(set(line) == ENTRY | ({"readable"} if line["samples"] >= 128 else set()) for line in lines)
    for entry in shared_run.search_log():
        assert entry.reward == pytest.approx(math.exp(-entry.loss))
    assert sum(len(entry.layers) == 8 for entry in shared_run.search_log()) > 495  # all of them, some repeatedly


def test_the_record_of_a_search_answers_for_every_number_of_layers(shared_run):
    record = SearchResult.model_validate_json((shared_run.path / "search.json").read_text())
    assert (record.strategy, record.sizes) == ("auto", (8,))
    assert record.chosen[8] == shared_run.manifest.plan.layers
    assert sorted(record.chosen) == list(range(1, 13))
    for size, layers in record.chosen.items():
        assert len(layers) == len(set(layers)) == size
        assert record.point(layers).loss > 0
    best = max(point.readable for point in record.points if len(point.layers) == 8)
    assert record.point(record.chosen[8]).readable == best
    assert record.full.divergence == 0
    assert all(0 <= point.value <= 1 and point.divergence > 0 for point in record.points)
    assert record.macs_saved.keys() == record.parameters_saved.keys() == set(shared_run.manifest.candidates)
    full, slim = (sum(p.numel() for p in m.parameters()) for m in (shared_run.load_full(), shared_run.load_saved()))
    assert full == record.parameters
    assert full - slim == sum(record.parameters_saved[name] for name in record.chosen[8])
    assert record.forwards.keys() >= {"fitting", "encoding", "scoring"}
    assert 0 < record.forwards["scoring"] < 495 * record.samples


def test_the_papers_loop_logs_its_gates(workshop):
    run = compress(settings(strategy="das"))
    trained = [entry for entry in run.search_log() if entry.trained]
    first = (run.path / "search.jsonl").read_text().splitlines()[0]
    assert set(json.loads(first)) == ENTRY | {"gates"}
    assert all(len(entry.layers) == 8 and len(entry.gates) == 12 for entry in trained)
    last = trained[-1].gates
    assert set(run.manifest.plan.layers) == set(sorted(last, key=last.get)[-8:])
    assert any(any(entry.gates.values()) for entry in trained)


def test_only_the_adapters_of_the_choice_are_trained(shared_run):
    full, slim = shared_run.load_full().state_dict(), shared_run.load_saved()
    skipped = {f"blocks.{name}" for name in slim.skipped}
    for name, value in slim.state_dict().items():
        if ".".join(name.split(".")[:2]) not in skipped:
            assert torch.equal(value, full[name]), name
    assert any(slim.blocks[name].up_proj.weight.abs().sum() > 0 for name in slim.skipped)
    assert sum(shared_run.manifest.updated_parameters.values()) == sum(
        p.numel() for name in slim.skipped for p in slim.blocks[name].parameters()
    )


def test_recovery_brings_accuracy_back(workshop):
    cut = compress(settings(skip=None, layers=("FL*", "FV0-1"), recover="none"))
    recovered = compress(settings(skip=None, layers=("FL*", "FV0-1"), recover_epochs=8.0))
    before, after = cut.manifest.results, recovered.manifest.results
    assert before.full == after.full
    assert after.slim.loss < before.slim.loss
    assert after.slim.value > before.slim.value + 0.05
    assert cut.search_log() == []


def test_a_run_that_its_trims_would_change_is_not_saved(workshop, monkeypatch):
    """METER reads the first tokens; a declaration that says the last is mistaken."""
    asked = settings(skip=None, layers=("FL5", "FV5"), recover="closed-form", out="runs/mistaken")
    with monkeypatch.context() as mistaken:
        meter = FAMILIES["meter"]
        mistaken.setitem(FAMILIES, "meter", replace(meter, readout=lambda dims, task: dict.fromkeys(READOUT, "last")))
        with refused(CheckFailed, "trims-differ", "a meter that differs by", "in the epilogue", "--resume"):
            compress(asked)
        assert [path.name for path in (workshop / "runs").iterdir()] == ["mistaken.partial"]
    run = compress(asked, resume=True)
    assert run.path.name == "mistaken" and run.load_slim().skipped == ("FL5", "FV5")


def test_same_seed_same_layers_same_weights(workshop):
    first, second = compress(settings(**FEW, seed=3)), compress(settings(**FEW, seed=3))
    assert first.path != second.path
    assert first.manifest.plan == second.manifest.plan
    assert same(weights(first), weights(second))
    assert open_run().path == second.path


@pytest.fixture(autouse=True)
def ctrl_c_arrives():
    """Workers that run tests in parallel ignore Ctrl-C; here it means what it means in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class InterruptAt(StepProgress):
    """Presses Ctrl-C in the middle of a stage."""

    def __init__(self, label, at):
        self.label, self.at = label, at

    def step(self, label, number):
        if self.label in label and number == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow  # runs/test_resume.py stops the same stages at any step
@pytest.mark.parametrize(
    ("strategy", "stage", "step"),
    [
        ("das", "Searching", 17),
        ("auto", "on 128 samples", 5),
    ],
)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(workshop, strategy, stage, step):
    asked = settings(strategy=strategy)
    whole = compress(asked.model_copy(update={"out": "runs/whole"}))
    broken = asked.model_copy(update={"out": "runs/broken"})
    with pytest.raises(Interrupted, match="--resume"):
        compress(broken, progress=InterruptAt(stage, step))
    assert not (workshop / "runs" / "broken").exists()
    assert (workshop / "runs" / "broken.partial" / "state.pt").exists()
    resumed = compress(broken, resume=True)
    assert resumed.manifest.plan == whole.manifest.plan
    assert same(weights(resumed), weights(whole))
    assert (resumed.path / "search.json").read_bytes() == (whole.path / "search.json").read_bytes()
    assert without_seconds(resumed.search_log()) == without_seconds(whole.search_log())
    assert not (workshop / "runs" / "broken.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "task"), [("vilt", "irtr"), ("meter", "nlvr2"), ("vilt", "vqa"), ("bert", "text-classification")]
)
def test_every_kind_of_run_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch, family, task):
    demo = replace(DEMOS[family, task], images=30, steps=2, shipped=0)
    prepare_demo(demo, tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    monkeypatch.delenv("DAS_DATA", raising=False)
    asked = settings(checkpoint=demo.checkpoint, task=task, skip=2, strategy="das", **SHORT)
    whole = compress(asked.model_copy(update={"out": "runs/whole"}))
    broken = asked.model_copy(update={"out": "runs/broken"})
    for stage, resume in (("Searching", False), ("Recovering", True)):
        with pytest.raises(Interrupted, match="--resume"):
            compress(broken, resume=resume, progress=InterruptAt(stage, 2))
    resumed = compress(broken, resume=True)
    assert resumed.manifest.plan == whole.manifest.plan
    assert same(weights(resumed), weights(whole))
    assert resumed.manifest.results.slim == whole.manifest.results.slim


def test_ctrl_c_before_the_training_leaves_nothing(workshop):
    with pytest.raises(KeyboardInterrupt):
        compress(settings(), progress=InterruptAt("Evaluating the full", 0))
    assert not list((workshop / "runs").iterdir())


def test_ctrl_c_between_two_stages_keeps_what_is_done(workshop):
    whole = compress(settings(**FEW, out="runs/whole"))
    with pytest.raises(Interrupted, match="--resume"):
        compress(settings(**FEW, out="runs/broken"), progress=InterruptAt("Asking the full model", 1))
    resumed = compress(settings(**FEW, out="runs/broken"), resume=True)
    assert same(weights(resumed), weights(whole))


def test_ctrl_c_on_the_command_line_says_how_to_go_on(workshop, monkeypatch):
    monkeypatch.setattr("das.terminal.progress", lambda: InterruptAt("Scoring", 2))
    command = ("compress", "meter.ckpt", "--task", "vqa", "--skip", 3, "--recover-epochs", 1, "--scope", FEW["scope"])
    result = das(*command)
    assert result.exit_code == 130
    assert "the same command and --resume" in result.stderr
    monkeypatch.undo()
    monkeypatch.chdir(workshop)
    assert das(*command, "--resume").exit_code == 0


def test_an_interrupted_run_is_not_overwritten(workshop):
    with pytest.raises(Interrupted):
        compress(settings(out="runs/broken"), progress=InterruptAt("Scoring", 3))
    state = (workshop / "runs" / "broken.partial" / "state.pt").read_bytes()
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 8, "--out", "runs/broken")
    stopped(result, 3, "run-interrupted-there", "runs/broken.partial", "--resume")
    assert (workshop / "runs" / "broken.partial" / "state.pt").read_bytes() == state


def test_resume_does_not_take_the_run_of_another_name(workshop):
    with pytest.raises(Interrupted):
        compress(settings(skip=12), progress=InterruptAt("Scoring", 3))
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 1, "--resume")
    stopped(result, 3, "nothing-to-resume", ".partial")


def test_latest_follows_a_run_wherever_it_lies(workshop, tmp_path):
    run = compress(settings(skip=None, layers=("FL1",), recover="none", out=str(tmp_path / "elsewhere" / "run")))
    assert open_run().path == run.path == (tmp_path / "elsewhere" / "run").resolve()
    assert not (tmp_path / "elsewhere" / "latest").exists()


def test_names_of_runs(workshop):
    by_hand = compress(settings(skip=None, layers=("FL*",), recover="none"))
    assert by_hand.path.name == "meter-vqa-by-hand"
    assert compress(settings(task=None, skip=1)).path.name == "meter-vqa-skip1"


def test_all_layers_of_a_scope_can_go(workshop):
    run = compress(settings(skip=12))
    assert len(run.manifest.plan.layers) == 12
    assert run.load_slim().layers == ("LEn0", "LEn1", "VEn0", "VEn1")


def test_train_head_trains_poolers_and_head_and_leaves_the_full_model_alone(workshop):
    run = compress(settings(skip=None, layers=("FL1",), train_head=True))
    full, slim = run.load_full().state_dict(), run.load_saved().state_dict()
    moved = {name for name, value in slim.items() if name in full and not torch.equal(value, full[name])}
    assert moved
    assert all(name.startswith("epilogue.") for name in moved)
    assert run.manifest.results.full.value > 0.8


def test_adapting_is_deterministic(workshop):
    pretrained = str(GOLDEN / "meter_tiny_pretrain.ckpt")
    runs = [
        compress(settings(checkpoint=pretrained, adapt=True, tokenizer="tokenizer.json", skip=1, seed=5)) for _ in "ab"
    ]
    assert same(weights(runs[0]), weights(runs[1]))
    assert runs[0].manifest.results.slim == runs[1].manifest.results.slim


def test_compressing_a_checkpoint_of_the_public_das_code(workshop):
    """Its own skip adapters, class token and parallel adapters are used; cutting alone gives what DAS gives."""
    content = torch.load(GOLDEN / "das_meter_tiny_vqa.ckpt", weights_only=True)
    for key in ("vqa_classifier.3.weight", "vqa_classifier.3.bias"):  # the generated questions have 20 answers
        old = content["state_dict"][key]
        content["state_dict"][key] = torch.cat([old, old])[:20]
    torch.save(content, "das.ckpt")
    run = compress(settings(checkpoint="das.ckpt", skip=None, layers=("FL1-2", "FV0"), recover="none"))
    slim, state = run.load_saved(), content["state_dict"]
    assert torch.equal(slim.blocks["FL1"].up_proj.weight, state["adapter_list_l.1.0.up_proj.weight"])
    assert torch.equal(slim.blocks["text_bridge"].class_token, state["token4classifier"])
    assert torch.equal(
        slim.blocks["FL0"].adapter.up_proj.weight, state["cross_modal_text_layers.0.adapter.up_proj.weight"]
    )
    searched = compress(settings(checkpoint="das.ckpt", skip=3, recover="none"))
    assert len(searched.manifest.plan.layers) == 3


def test_adapters_that_a_checkpoint_brings_along_keep_their_widths(workshop):
    brought = {"checkpoint": str(GOLDEN / "das_meter_tiny_vqa.ckpt"), "tokenizer": "tokenizer.json", "adapt": True}
    asked = settings(**brought, skip=None, layers=("FL1",), skip_width=99, parallel_width=80)
    codes = ("width-too-large", "width-too-large", "adapter-width-differs")
    with refused(
        UsageError, codes, "--skip-width 99", "--parallel-width 80", "the width of the streams, 32", "width, 12"
    ):
        prepare_job(asked)
    with refused(UsageError, "adapter-width-differs", "--skip-width 7", "a skip adapter of 36 for FL1 along"):
        prepare_job(asked.model_copy(update={"skip_width": 7, "parallel_width": None}))
    own = prepare_job(asked.model_copy(update={"skip_width": None, "parallel_width": 12}))
    assert own.plan(("FL1",)).skip[0].adapter_width == 36 and own.model.dims.parallel_width == 12


def test_one_question_to_score_on_is_enough(workshop):
    write_scenes(workshop / "data" / "vqav2_test.arrow", 1, 48, seed=0, per_image=1)
    run = compress(settings(skip=None, layers=("FL1",), recover="none"))
    assert run.manifest.results.slim.samples == 1
    assert len(run.samples()["input_ids"]) == 1


def test_resume_with_other_settings_is_refused(workshop):
    with pytest.raises(Interrupted):
        compress(settings(out="runs/broken"), progress=InterruptAt("Scoring", 3))
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 6, "--out", "runs/broken", "--resume")
    stopped(result, 3, "settings-changed", "(skip")
    assert (workshop / "runs" / "broken.partial" / "state.pt").exists()


def test_nothing_to_resume(workshop):
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 8, "--resume")
    stopped(result, 3, "nothing-to-resume", ".partial")


def test_scopes(workshop):
    model = prepare_job(settings(scope="global"))
    assert model.candidates[:2] == ("LEn0", "LEn1")
    assert len(model.candidates) == 14
    assert len(prepare_job(settings(scope="all")).candidates) == 16
    assert prepare_job(settings(scope="FL*,LEn0-1", skip=2)).candidates == (
        "LEn0",
        "LEn1",
        *(f"FL{i}" for i in range(6)),
    )


def test_a_global_search_skips_encoder_layers_too(workshop):
    run = compress(settings(scope="global", skip=14))
    assert {"LEn0", "LEn1"} <= set(run.manifest.plan.layers)
    assert "LEn0" not in run.load_slim().layers


def test_random_strategy_is_seeded(workshop):
    run = compress(settings(strategy="random", recover="none"))
    again = compress(settings(strategy="random", recover="none"))
    assert run.manifest.plan == again.manifest.plan
    assert run.manifest.strategy == "random"


def test_adapting_a_pre_trained_checkpoint(workshop):
    run = compress(
        settings(checkpoint=str(GOLDEN / "meter_tiny_pretrain.ckpt"), adapt=True, tokenizer="tokenizer.json", skip=1)
    )
    slim = run.load_saved()
    assert run.manifest.results.full is None
    assert slim.dims.parallel_width == 4
    kept = next(name for name in ("FL0", "FV0") if name not in slim.skipped)
    assert slim.blocks[kept].adapter.up_proj.weight.abs().sum() > 0
    found, costs, full = run.search_result(), run.manifest.costs, run.load_full()
    assert (found.macs, found.parameters) == (costs.macs.full, sum(p.numel() for p in full.parameters()))
    (name,) = slim.skipped
    assert costs.trims.before == found.macs + found.macs_beside - found.macs_saved[name]
    added = sum(p.numel() for p in slim.parameters()) - found.parameters
    assert added == found.parameters_beside - found.parameters_saved[name]
    start = full.state_dict()
    moved = {name for name, value in slim.state_dict().items() if name in start and not torch.equal(value, start[name])}
    assert moved
    assert all(".adapter." in name or name.startswith("epilogue.") for name in moved)


def test_skipping_nothing_trains_the_adapters_alone(workshop):
    """The paper's rows of 0 skipped layers; MACs are compared with the checkpoint as it is, without any adapter."""
    asked = settings(
        checkpoint=str(GOLDEN / "meter_tiny_pretrain.ckpt"), adapt=True, tokenizer="tokenizer.json", skip=0
    )
    run = compress(asked.model_copy(update={"parallel_width": 6}))
    made, slim, start = run.manifest, run.load_saved(), run.load_full()
    assert (run.path.name, made.strategy, made.plan.layers) == ("meter_tiny_pretrain-vqa-skip0", "none", ())
    assert made.candidates == () and run.search_result() is None
    assert slim.skipped == () and slim.layers == start.layers and slim.dims.parallel_width == 6
    before = start.state_dict()
    moved = {name for name, value in slim.state_dict().items() if not torch.equal(value, before.get(name, value + 1))}
    assert {name.split(".")[0] for name in moved} == {"blocks", "epilogue"}
    assert all(".adapter." in name or name.startswith("epilogue.") for name in moved)
    assert not any(".adapter." in name for name in before)
    family, costs = FAMILIES["meter"], made.costs
    parts = count_by_part(family, slim.dims, "vqa")
    added = count_additional(family, slim.dims, "vqa")
    assert costs.trims.before == sum(parts.values())
    assert costs.trims.before - costs.macs.full == added == parts["parallel-adapters"] > 0
    assert made.updated_parameters["parallel adapters"] == 3 * 2 * (2 * slim.dims.hidden * 6 + 6 + slim.dims.hidden)
    with refused(InputError, "run-without-search", "nothing is skipped in it", "--skip 2 --adapt"):
        settings_of(run.path, skip=1)
    again = settings_of(run.path, skip=0)
    assert again.parallel_width == 6 and again.from_run is None and again.choice is Choice.NOTHING
    with refused(UsageError, "reference-without-adapt", "--reference with --skip 0"):  # and not left out
        prepare_job(settings_of(run.path, skip=0, reference=run.path))


def test_a_lot_is_drawn_where_no_head_is_trained(workshop):
    """Table B: layers by lot, as many FL as FV, and the recovery of --adapt; the same layers as in a search by lot."""
    options = {"checkpoint": str(GOLDEN / "meter_tiny_pretrain.ckpt"), "adapt": True, "tokenizer": "tokenizer.json"}
    drawn = {"strategy": "random", "balanced": True, "scope": "all", "skip_width": 5, "skip": 4}
    run = compress(settings(**options, **drawn, seed=3))
    assert (run.manifest.strategy, run.search_log(), run.search_result()) == ("random", [], None)
    assert sorted(name.rstrip("0123456789") for name in run.manifest.plan.layers) == ["FL", "FV", "LEn", "VEn"]
    assert {entry.adapter_width for entry in run.manifest.plan.skip} == {5}
    with refused(UsageError, "skip-not-balanced", "--balanced --skip 3", "1 of language", "a multiple of 4, at most 4"):
        prepare_job(settings(**options, **{**drawn, "skip": 3}))
    with refused(UsageError, "skip-not-balanced", "one pool alone", "drop --balanced"):
        prepare_job(settings(**options, **{**drawn, "scope": "FL*", "skip": 1}))
    free = {**drawn, "balanced": False, "scope": "fusion", "skip": 1}
    job = prepare_job(settings(**options, **free, seed=2))
    assert draw_layers(job) == (job.candidates[RandomOrder(SearchSpace(2, (1,), 2, list)).choice()[1][0]],)


def test_the_command_line_takes_what_the_papers_tables_ask_for(workshop):
    base = (
        "compress",
        GOLDEN / "meter_tiny_pretrain.ckpt",
        "--task",
        "vqa",
        "--adapt",
        "--tokenizer",
        "tokenizer.json",
    )
    widths = ("--parallel-width", 6, "--skip-width", 7)
    lot = das(*base, "--skip", 2, "--strategy", "random", "--balanced", *widths, "--dry-run", "--json")
    nothing = das(*base, "--skip", 0, "--dry-run", "--json")
    for found, strategy, skip in ((lot, "random", 2), (nothing, None, 0)):
        assert found.exit_code == 0, found.stderr
        plan = json.loads(found.stdout)
        assert (plan["strategy"], plan["skip"], plan["search_steps"], len(plan["candidates"])) == (
            strategy,
            skip,
            0,
            skip,
        )
        assert not any("search" in part for part in plan["expected"]["seconds"])
    assert "would skip no layer: adapters and head are trained" in das(*base, "--skip", 0, "--dry-run").stdout
    gone = das(*base, "--skip", 1, "--strategy", "random", "--reference", "gone", "--dry-run")
    stopped(gone, 3, "run-missing", "gone")
    alone = das("search", "meter.ckpt", "--task", "vqa", "--skip", 0)
    stopped(alone, 2, "skip-too-small", "das compress --skip 0 --adapt")


class Told(StepProgress):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_texts_of_512_tokens(sentences):
    """Table C counts 512 tokens: trained, kept, counted and saved at that length, with adapters of Table C's kind."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    positions = {"vocab_size": 42, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
    RobertaForMaskedLM(RobertaConfig(**sizes, **positions)).save_pretrained("pretrained")
    for name in ("train", "dev"):
        header, *rows = (sentences / "data" / f"{name}.tsv").read_text().splitlines()
        longer = [f"{'the story is moving . ' * 80 * (number % 2)}{row}" for number, row in enumerate(rows[:24])]
        (sentences / "data" / f"{name}.tsv").write_text("\n".join((header, *longer)))
    options = {"tokenizer": "roberta/tokenizer.json", "data": "data", "adapt": True, "skip": 1, "strategy": "random"}
    asked = settings(checkpoint="pretrained", task="text-classification", batch_size=8, parallel_width=5, **options)
    prepare_job(asked, told := Told())
    assert not [line for line in told.lines if "tokens" in line]  # none is cut
    assert 400 < prepare_job(asked).model.dims.text_length < 512
    run = compress(asked.model_copy(update={"text_length": 512, "skip_width": 7}))
    slim, family, task = run.load_saved(), FAMILIES["roberta"], "text-classification"
    assert run.samples()["input_ids"].shape[1] == slim.dims.text_length == 512
    widths = {entry.layer: entry.adapter_width for entry in run.manifest.plan.skip}
    assert [*widths.values()] == [7] and slim.dims.parallel_width == 5
    assert run.manifest.costs.trims.before == sum(count_by_part(family, slim.dims, task, widths, (0, 0)).values())
    plain = slim.dims.model_copy(update={"parallel_width": 0})
    assert run.manifest.costs.macs.full == sum(count_by_part(family, plain, task, patches=(0, 0)).values())
    saved = das_package.save(run, to="folder")
    (number,) = (name.removeprefix("En") for name in widths)
    adapters = json.loads((sentences / "folder" / "config.json").read_text())["das_adapters"]
    assert saved.layers == 1 and (adapters["in_place_of"], adapters["beside"]) == ({number: 7}, [5])


def test_the_report_command_and_evaluation_agree(run_here, shared_run):
    result = das("eval", run_here, "--data", "data", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["value"] == pytest.approx(shared_run.manifest.results.slim.value)


def test_vqa_score_and_loss_follow_their_definitions(shared_workshop):
    checkpoint, data = str(shared_workshop / "meter.ckpt"), str(shared_workshop / "data")
    job = prepare_job(settings(checkpoint=checkpoint, data=data, device="cpu"))
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
    assert scale_learning_rate(768, PAPER_STEPS) == pytest.approx(PAPER_LEARNING_RATE)
    assert scale_learning_rate(64, 500) > scale_learning_rate(768, 500)


def test_data_that_do_not_fit_into_memory_give_the_same_result(workshop, monkeypatch):
    kept = compress(settings(**FEW))
    monkeypatch.setattr("compressor.training.activation_cache.MEMORY_SHARE", 0.0)
    streamed = compress(settings(**FEW))
    assert kept.manifest.plan == streamed.manifest.plan
    theirs = weights(streamed)
    for name, value in weights(kept).items():
        torch.testing.assert_close(value, theirs[name], atol=1e-3, rtol=0)


def test_check_failed_is_exit_4():
    assert CheckFailed.exit_code == 4

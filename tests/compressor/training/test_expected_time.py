"""How long a compression is expected to take: counted right, and nothing is changed by timing."""

import json
import re

import pytest
import torch

from compressor.jobs.prepare_job import prepare_job
from compressor.search.strategies import STRATEGIES
from compressor.settings import Settings
from compressor.training import activation_cache, expected_time
from compressor.training.expected_time import Expected, expect_search_time, expect_time
from tests.support.command_line import das


def job_of(folder, **options):
    return prepare_job(Settings(checkpoint=str(folder / "roberta"), data=str(folder / "data"), device="cpu", **options))


@pytest.fixture
def second_each(monkeypatch):
    """Every timed batch takes a second for each sample."""
    monkeypatch.setattr(expected_time, "time_growing", lambda make, run, most: 1.0)


def test_every_sample_and_step_is_counted(shared_sentences, second_each):
    job = job_of(shared_sentences, layers=("En1", "En4"), recover_epochs=10, batch_size=8)
    train, scored = len(job.data.train), len(job.data.evaluation)
    assert not job.data.extra
    found = expect_time(job)
    steps = job.recovery.steps
    assert found.seconds == {
        "full model's score": scored,
        "fitting adapters": 2 * train,
        "asking the full model": train,
        f"recovery ({steps:,} steps)": 8 * steps,
        "slim model's score": scored,
    }
    assert found.cheaper == {
        "--recover closed-form": 2 * scored + 2 * train,
        "--recover-epochs 0.5": 2 * scored + 2.5 * train + 8 * steps / 20,
    }
    assert found.total == 2 * scored + 3 * train + 8 * steps


def test_what_does_not_fit_into_memory_is_encoded_in_every_step(shared_sentences, second_each, monkeypatch):
    monkeypatch.setattr(activation_cache, "MEMORY_SHARE", 0.0)
    job = job_of(shared_sentences, layers=("En1",), recover_epochs=1, batch_size=8)
    seconds = expect_time(job).seconds
    assert seconds["asking the full model"] == 8 * job.recovery.steps  # what is left of an epoch is in no step
    assert seconds[f"recovery ({job.recovery.steps:,} steps)"] == 2 * 8 * job.recovery.steps


def test_without_recovery_nothing_is_fitted_or_trained(shared_sentences, second_each):
    found = expect_time(job_of(shared_sentences, layers=("En1",), recover="none"))
    assert list(found.seconds) == ["full model's score", "slim model's score"]
    assert found.cheaper == {}


def test_passes_of_a_search_are_those_that_it_makes(shared_run, second_each):
    """The strategy is asked; results of no meaning lead it to other subsets, of which there are as many."""
    made = shared_run.manifest.settings
    job = prepare_job(Settings(**{name: getattr(made, name) for name in ("checkpoint", "task", "skip", "data")}))
    samples, forwards = len(job.data.held_out), shared_run.search_result().forwards
    scored = expect_search_time(job).total - samples - 2 * min(512, len(job.data.train))
    assert scored == pytest.approx(forwards["scoring"] + forwards["other sizes"], rel=0.25)


@pytest.mark.parametrize(
    ("once", "each", "sizes"),
    [(0.0, 1.0, [1, 1, 2]), (0.5, 0.01, [1, 1, 2, 4, 8, 16, 32, 64]), (0.0, 0.1, [1, 1, 2, 4]), (3.0, 0.1, [1, 1])],
)
def test_batches_grow_until_what_is_paid_once_is_spread(monkeypatch, once, each, sizes):
    monkeypatch.setattr(expected_time, "LEAST_SECONDS", 0.3)
    monkeypatch.setattr(expected_time, "MOST_SECONDS", 2.0)
    timed = []

    def seconds(size, run):
        timed.append(size)
        return once + each * size

    monkeypatch.setattr(expected_time, "_time", seconds)
    found = expected_time.time_growing(lambda size: size, None, 64)
    assert timed == sizes
    assert found == pytest.approx((once + each * sizes[-1]) / sizes[-1])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_timing_changes_nothing(shared_sentences, strategy):
    job = job_of(shared_sentences, skip=2, strategy=strategy, batch_size=8)
    before = {name: value.clone() for name, value in job.model.state_dict().items()}
    state = torch.get_rng_state()
    found = expect_time(job)
    assert min(found.seconds.values()) > 0
    assert torch.equal(torch.get_rng_state(), state)
    after = job.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in job.model.parameters())


def test_a_sentence_names_parts_and_cheaper_ways():
    seconds = {"search": 120, "fitting adapters": 0.4, "recovery (9,470 steps)": 9600}
    found = Expected(seconds=seconds, cheaper={"--recover closed-form": 121, "--recover-epochs 0.5": 600})
    assert found.describe() == (
        "about 2 h 42 min on this machine: search 2 min, recovery (9,470 steps) 2 h 40 min; "
        "--recover closed-form about 2 min, --recover-epochs 0.5 about 10 min"
    )
    assert Expected(seconds={}, cheaper={}).describe() == "about 0 s on this machine"


@pytest.mark.parametrize("options", [(), ("--calibration", "data"), ("--adapt", "--task", "text-classification")])
def test_a_dry_run_says_how_long(sentences, options):
    options = options or ("--data", "data")
    recover = ("--recover", "closed-form") if "--calibration" in options else ()
    found = das("compress", "roberta", "--skip", 2, *options, *recover, "--dry-run", "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["expected"]["seconds"]["slim model's score"] > 0


def test_what_takes_long_is_told_before_it_begins(sentences, monkeypatch):
    for module in ("compressor.compression", "compressor.training.expected_time"):
        monkeypatch.setattr(f"{module}.LONG", 0.0)
    command = ("--skip", 2, "--data", "data", "--strategy", "random")
    lines = das("search", "roberta", *command).stderr.splitlines()
    told = next(number for number, line in enumerate(lines) if "on this machine" in line)
    assert told < next(number for number, line in enumerate(lines) if line.startswith("Encoding"))
    scored = das("eval", "roberta", "--data", "data").stderr
    assert re.search(r"about \d+ s on this machine, for \d+ samples\nEvaluating", scored)

"""The bandit against traces of the public code; searches against the slim models that surgery makes."""

import json
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.batches import TrainingOrder, batch_of_step
from compressor.evaluation.evaluate import evaluate
from compressor.families import FAMILIES
from compressor.jobs.prepare_job import prepare_job
from compressor.models.supernet import Supernet
from compressor.models.surgery import make_plan, remove_layers
from compressor.progress import QUIET
from compressor.search.cost import measure_costs
from compressor.search.least_squares import fit_adapters
from compressor.search.linear_probe import LEAST, probe_answers
from compressor.search.loop import Search, Spent, Training, with_teacher
from compressor.search.select_layers import encode_calibration
from compressor.search.strategies.das_bandit import Bandit, DasBandit
from compressor.search.strategies.strategy import Result, SearchSpace, Strategy, Trial
from compressor.settings import Settings
from compressor.tasks import TASKS
from compressor.training.activation_cache import Encoded
from compressor.training.optimiser import Optimiser
from das.demo.checkpoints import prepare_demo
from das.demo.demos import DEMOS
from tests.support.command_line import GOLDEN
from tests.support.search_logs import without_seconds

TRACES = json.loads((GOLDEN / "das_search_trace.json").read_text())


@pytest.mark.parametrize("name", TRACES["traces"])
def test_updates_reproduce_the_public_code_bit_for_bit(name):
    trace = TRACES["traces"][name]
    config = trace["config"]
    search = Bandit(12, config["skip_num"], subsets=config["das_step"])
    for update in trace["updates"]:
        assert search.gates.tolist() == update["gates_before"]
        rewards = search.update(
            [tuple(s) for s in update["subsets"]], [sum(losses.values()) for losses in update["losses"]]
        )
        assert rewards == update["rewards"]
        assert search.gates.tolist() == update["gates_after"]
    assert list(search.best()) == trace["final_selection"]


@pytest.mark.skipif(
    torch.__version__.split("+")[0] != TRACES["torch_version"].split("+")[0],
    reason="draws depend on PyTorch's version; the trace was recorded with another",
)
@pytest.mark.parametrize("name", TRACES["traces"])
def test_draws_reproduce_the_public_code(name):
    trace = TRACES["traces"][name]
    config = trace["config"]
    search = Bandit(12, config["skip_num"], subsets=config["das_step"], seed=config["seed"])
    since_update = 0
    updates = {update["micro_batch"]: update for update in trace["updates"]}
    for batch in trace["micro_batches"]:
        if batch["epoch"] >= config["das_epoch"]:
            assert list(search.best()) == batch["active_subset"]
            continue
        assert list(search.draw()) == batch["active_subset"]
        since_update += 1
        if batch["epoch"] >= 1 and since_update >= config["das_turn"]:
            since_update = 0
            update = updates.pop(batch["micro_batch"])
            subsets = search.propose()
            assert [list(subset) for subset in subsets] == update["subsets"]
            search.update(subsets, [sum(losses.values()) for losses in update["losses"]])
    assert not updates


def test_epoch_ends_choose_the_same_layers():
    for trace in TRACES["traces"].values():
        search = Bandit(12, trace["config"]["skip_num"])
        for end in trace["epoch_ends"]:
            search.gates = torch.tensor(end["gates"])
            assert list(search.best()) == end["selected_flags_after_epoch_end"]


def space(skip, steps, seed=0, every=1, candidates=12):
    return SearchSpace(candidates, (skip,), seed, influence=list, steps=steps, every=every)


def drive(strategy, loss, trials):
    """Answer a strategy's trials by a loss of each subset; returns all subsets it trained on and scored."""
    seen = []
    for _ in range(trials):
        trial = strategy.ask()
        seen += [*trial.training, *trial.subsets]
        strategy.tell([Result(subset, 0.0, loss(subset), 0.0, 1) for subset in trial.subsets])
    return seen


def test_a_resumed_search_goes_on_where_it_stopped():
    def loss(subset):
        return 0.1 * sum(subset)

    whole, first, second = (DasBandit(space(4, 40, seed=3, every=2)) for _ in range(3))
    seen = drive(whole, loss, 20)
    before = drive(first, loss, 8)
    second.load_state_dict(first.state_dict())
    assert second.trained == 16
    assert before + drive(second, loss, 12) == seen
    assert second.ask() is None
    assert second.choice() == whole.choice()


def test_layers_that_cost_nothing_are_found():
    harmless = {1, 4, 5, 9}
    strategy = DasBandit(space(4, 600))
    drive(strategy, lambda subset: 0.3 * len(set(subset) - harmless), 600)
    assert set(strategy.choice()[4]) == harmless


@given(st.integers(1, 12), st.data())
def test_subsets_are_distinct_and_never_run_out(candidates, data):
    skip = data.draw(st.integers(1, candidates))
    search = Bandit(candidates, skip, subsets=3)
    proposed = search.propose()
    assert len(set(proposed)) == len(proposed)
    assert all(len(subset) == skip and all(a < b for a, b in pairwise(subset)) for subset in proposed)
    search.update(proposed, [1.0] * len(proposed))
    assert len(search.best()) == skip


@pytest.mark.parametrize("skip", [0, 13, -1])
def test_impossible_k_is_refused(skip):
    with pytest.raises(ValueError, match="cannot skip"):
        Bandit(12, skip)


class Scripted(Strategy):
    """Asks for the given trials, whatever their results."""

    def __init__(self, trials):
        super().__init__(space(1, 0))
        self.trials = trials

    def choice(self):
        return {}

    def _propose(self):
        return self.trials[len(self.history)] if len(self.history) < len(self.trials) else None


class Bench:
    """A model with fitted adapters and its held-out samples, to run searches on."""

    def __init__(self, job):
        self.job, self.task, self.split = job, TASKS[job.model.task], job.data.held_out
        self.supernet = Supernet(job.model, job.candidates)
        self.costs = measure_costs(self.supernet, self.split.batch([0]))
        fit_adapters(self.supernet, encode_calibration(job, self.supernet, QUIET))
        self.held_out = Encoded(self.split, with_teacher(self.supernet), torch.device("cpu"))

    def search(self, *trials, seed=1):
        strategy = Scripted(trials)
        return Search(self.supernet, self.task, strategy, self.held_out, Spent(self.costs), seed)

    def slim(self, subset):
        """What surgery makes of a subset, with the adapters that the search has."""
        names = [self.job.candidates[i] for i in subset]
        return remove_layers(self.job.model, make_plan(self.job.model, names))

    def directly(self, subset, numbers):
        """Divergence, loss and value of the slim model on held-out samples with these numbers."""
        batch = self.split.batch(numbers)
        inputs = {name: batch[name] for name in FAMILIES[self.job.model.family].input_names}
        with torch.inference_mode():
            logits, teacher = self.slim(subset)(**inputs), self.job.model(**inputs)
        distilled, own = (self.task.distillation(student, teacher, batch) for student in (logits, teacher))
        return float(distilled - own), float(self.task.loss(logits, batch)), self.task.scores(logits, batch).mean()


@pytest.fixture(scope="module")
def bench(shared_workshop):
    """The shipped METER, whose fusion layers matter."""
    checkpoint, data = str(shared_workshop / "meter.ckpt"), str(shared_workshop / "data")
    return Bench(prepare_job(Settings(checkpoint=checkpoint, data=data, skip=2, device="cpu")))


def measures(outcome):
    return outcome.divergence, outcome.loss, outcome.value


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_an_outcome_is_what_evaluating_the_slim_model_gives(bench):
    subsets = ((0,), (3, 7), (0, 1, 2, 6, 7, 8), tuple(range(12)))
    search = bench.search(Trial(subsets))
    search.run()
    (found,) = search.strategy.history
    for subset, outcome in zip(subsets, found, strict=True):
        score = evaluate(bench.slim(subset), bench.split, bench.task).score
        assert (outcome.subset, outcome.samples) == (subset, score.samples)
        close((outcome.loss, outcome.value), (score.loss, score.value))
        close(measures(outcome), bench.directly(subset, np.arange(len(bench.split))))
    assert found[-1].value < found[0].value - 0.1  # they differ in what they lose
    score = evaluate(bench.job.model, bench.split, bench.task).score
    close(measures(search.score_full()), (0, score.loss, score.value))


@pytest.mark.parametrize(
    ("family", "task"), [("meter", "nlvr2"), ("vilt", "irtr"), ("vilt", "snli-ve"), ("bert", "text-classification")]
)
def test_pairs_and_captions_are_scored_as_the_slim_model_scores_them(family, task, tmp_path):
    demo = replace(DEMOS[family, task], images=60, steps=20, shipped=0)
    prepare_demo(demo, tmp_path / "demo")
    bench = Bench(
        prepare_job(
            Settings(
                checkpoint=str(tmp_path / "demo" / demo.checkpoint),
                data=str(tmp_path / "demo/data"),
                skip=1,
                device="cpu",
            )
        )
    )
    samples = len(bench.split) // 2
    numbers = batch_of_step(0, samples, len(bench.split), 1)
    subsets = tuple(combinations(range(len(bench.job.candidates)), 2))
    search = bench.search(Trial(subsets, samples))
    search.run()
    for subset, outcome in zip(subsets, search.strategy.history[0], strict=True):
        assert outcome.samples == samples
        close(measures(outcome), bench.directly(subset, numbers))


def test_samples_scored_before_are_not_run_again(bench):
    subsets, more = ((0, 1), (2, 3), (4, 5)), ((2, 3), (8, 9))
    search = bench.search(Trial(subsets, 16), Trial(more, 40), Trial((*subsets, *more)))
    search.run()
    small, middle, everything = search.strategy.history
    for outcomes, samples in ((small, 16), (middle, 40), (everything, len(bench.split))):
        numbers = batch_of_step(0, samples, len(bench.split), 1)
        for outcome in outcomes:
            assert outcome.samples == samples
            close(measures(outcome), bench.directly(outcome.subset, numbers))

    def macs(*alike):
        return bench.costs.together(bench.supernet.varying, [search.names(subset) for subset in alike])

    rest = len(bench.split)
    spent = 16 * macs(*subsets) + (40 - 16) * macs((2, 3)) + 40 * macs((8, 9))
    spent += (rest - 16) * macs((0, 1), (4, 5)) + (rest - 40) * macs((2, 3), (8, 9))
    assert search.spent.forwards == {"scoring": pytest.approx(spent / bench.costs.full)}
    at_once = bench.search(Trial((*subsets, *more)))
    at_once.run()
    for found, expected in zip(everything, at_once.strategy.history[0], strict=True):
        close(measures(found), measures(expected))


def test_chunks_of_samples_change_nothing(bench, monkeypatch):
    subsets = ((0, 1), (2, 3, 9))
    whole = bench.search(Trial(subsets))
    whole.run()
    monkeypatch.setattr("compressor.search.loop.CHUNK", 7)
    monkeypatch.setattr("compressor.search.loop.TOGETHER", 3)
    steps, parts = [], bench.search(Trial(subsets))
    parts.run(after_step=lambda step, search: steps.append(step))
    for found, expected in zip(parts.strategy.history[0], whole.strategy.history[0], strict=True):
        close(measures(found), measures(expected))
    chunks, left = divmod(len(bench.split), 7)
    batches = 3 * chunks + -(-left // 3)
    assert steps == list(range(1, 2 * batches + 1))
    assert parts._count_scores(Trial(subsets)) == 0  # nothing is left
    assert bench.search(Trial(subsets))._count_scores(Trial(subsets)) == 2 * batches
    assert parts.spent.forwards == pytest.approx(whole.spent.forwards)


class Stop(Exception):
    pass


def assert_resumes(bench, trials, at):
    """A search stopped after so many steps, and gone on with, ends as one that was not."""
    whole, stopped, kept = bench.search(*trials), bench.search(*trials), {}
    whole.run()

    def stop(step, search):
        if step == at:
            kept.update(search.state_dict())
            raise Stop

    with pytest.raises(Stop):
        stopped.run(stop)
    resumed = bench.search(*trials)
    resumed.load_state_dict(kept)
    resumed.run()
    assert resumed.strategy.history == whole.strategy.history
    assert resumed.spent.forwards == pytest.approx(whole.spent.forwards)
    assert without_seconds(resumed.log) == without_seconds(whole.log)


@pytest.mark.parametrize("at", [1, 8, 9, 10, 20, 29, 60])
def test_a_search_stopped_anywhere_goes_on_to_the_same_end(bench, monkeypatch, at):
    monkeypatch.setattr("compressor.search.loop.CHUNK", 7)
    monkeypatch.setattr("compressor.search.loop.TOGETHER", 3)
    trials = Trial(((0,), (1,), (2, 3)), 20), Trial(((0,), (2, 3), (4, 5)), 33), Trial(((1,), (4, 5)))
    assert_resumes(bench, trials, at)


def test_a_probe_reads_what_the_head_of_the_slim_model_reads(bench):
    subsets, samples = ((0, 1), (2, 3, 9)), len(bench.split)
    search = bench.search(Trial(subsets, 80), Trial(subsets, probe=True), Trial(subsets, LEAST - 1, probe=True))
    search.run()
    unprobed, probed, few = search.strategy.history
    assert {outcome.readable for outcome in (*unprobed, *few)} == {None}
    batch = bench.split.batch(np.arange(samples))
    inputs = {name: batch[name] for name in FAMILIES[bench.job.model.family].input_names}
    for outcome in probed:
        read, slim = {}, bench.slim(outcome.subset)
        slim.epilogue.register_forward_pre_hook(lambda module, given, read=read: read.update(given[0]))
        with torch.inference_mode():
            slim(**inputs)
            tokens = [torch.layer_norm(read[name][:, 0], read[name].shape[-1:]) for name in ("text", "image")]
            expected = probe_answers(torch.cat(tokens, 1), bench.job.model(**inputs))
        assert outcome.readable == pytest.approx(expected, abs=1e-5)
        close(measures(outcome), bench.directly(outcome.subset, np.arange(samples)))


@pytest.mark.parametrize("at", [1, 5, 8, 9])
def test_a_probe_stopped_anywhere_goes_on_to_the_same_end(bench, monkeypatch, at):
    monkeypatch.setattr("compressor.search.loop.CHUNK", 40)
    trials = Trial(((0,), (2, 3)), 20), Trial(((0,), (2, 3), (4, 5)), 70, probe=True), Trial(((4, 5),), probe=True)
    assert_resumes(bench, trials, at)


def test_what_was_scored_on_since_without_a_probe_is_read_again(bench):
    subsets = ((0, 1), (2, 3))
    search = bench.search(Trial(subsets, 70, probe=True), Trial(subsets, 90), Trial(subsets, probe=True))
    at_once = bench.search(Trial(subsets, probe=True))
    search.run()
    at_once.run()
    for found, expected in zip(search.strategy.history[-1], at_once.strategy.history[0], strict=True):
        assert found.readable == pytest.approx(expected.readable, abs=1e-5)
        close(measures(found), measures(expected))


@given(st.integers(1, 2000), st.integers(0, 50), st.data())
def test_fewer_samples_are_among_more(samples, seed, data):
    fewer, more = sorted(data.draw(st.tuples(st.integers(1, samples), st.integers(1, samples))))
    small, large = (batch_of_step(0, size, samples, seed).tolist() for size in (fewer, more))
    assert large[:fewer] == small
    assert len(set(large)) == more


def test_training_between_two_trials_makes_scores_anew(bench):
    """After a step of training, what was known of a subset is of another model."""
    trials = [
        Trial(((0, 1),), 32, training=((0, 1),) * 2),
        Trial(((0, 1),), 32, training=((0, 1),) * 3),
        Trial(((0, 1),), 32),
    ]
    state = {name: value.clone() for name, value in bench.job.model.skips.state_dict().items()}
    search = bench.search(*trials)
    optimiser = Optimiser([(bench.supernet.adapters(), 1e-2)], 5)
    bench.job.model.skips.requires_grad_(True)
    data = Encoded(bench.job.data.train, bench.supernet.encode, torch.device("cpu"))
    search.training = Training(data, optimiser, TrainingOrder(data.lengths, 16, seed=0), kept=1.0)
    numbers, seen = batch_of_step(0, 32, len(bench.split), 1), []
    search.run(lambda step, search: seen.append(optimiser.done))
    first, second, last = (outcomes[0] for outcomes in search.strategy.history)
    assert optimiser.done == 5
    assert first.loss != second.loss == last.loss
    close(measures(last), bench.directly((0, 1), numbers))
    assert search.spent.forwards["training"] == pytest.approx(
        5 * 16 * 2 * bench.costs.subset(search.names((0, 1))) / bench.costs.full
    )
    moved = {name for name, value in bench.job.model.skips.state_dict().items() if not torch.equal(value, state[name])}
    assert {name.partition(".")[0] for name in moved} == {bench.job.candidates[0], bench.job.candidates[1]}
    bench.job.model.skips.load_state_dict(state)
    bench.job.model.skips.requires_grad_(False)

"""The bandit against traces of the public code, and its own promises."""

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.strategies.base import Course, Outcome, Question
from compressor.strategies.das import Bandit, das
from tests.support import GOLDEN

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


def question(skip, steps, seed=0, every=1, candidates=12):
    return Question(candidates, (skip,), seed, influence=list, steps=steps, every=every)


def drive(course, loss, proposals):
    """Answer a course's proposals by a loss of each subset; returns all subsets it trained on and scored."""
    seen = []
    for _ in range(proposals):
        proposal = course.proposal
        seen += [*proposal.training, *proposal.subsets]
        course.observe([Outcome(subset, 0.0, loss(subset), 0.0, 1) for subset in proposal.subsets])
    return seen


def test_a_resumed_search_goes_on_where_it_stopped():
    def loss(subset):
        return 0.1 * sum(subset)

    whole, first, second = (Course(das(question(4, 40, seed=3, every=2))) for _ in range(3))
    seen = drive(whole, loss, 20)
    before = drive(first, loss, 8)
    second.replay(first.state_dict())
    assert second.trained == 16
    assert before + drive(second, loss, 12) == seen
    assert second.choice == whole.choice is not None


def test_layers_that_cost_nothing_are_found():
    harmless = {1, 4, 5, 9}
    course = Course(das(question(4, 600)))
    drive(course, lambda subset: 0.3 * len(set(subset) - harmless), 600)
    assert set(course.choice[4]) == harmless


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

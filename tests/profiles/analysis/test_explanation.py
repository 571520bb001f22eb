"""Why layers were kept or cut: comparisons of like with like, interactions, and the rank of the choice."""

import json
import signal
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from compressor.compression import compress
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings
from profiles.analysis.effects import contrast_layer, fit_interactions, group_comparable
from profiles.analysis.explanation import enumerate_all, explain_layers
from profiles.reports.build_report import describe_candidates
from tests.support.command_line import das, stopped
from tests.support.marks import slow_but
from tests.support.progress import StepProgress
from tests.support.search_logs import log_entry

LAYERS = tuple("ABCDEF")
EFFECTS = dict(zip(LAYERS, (0.1, -0.2, 0.3, 0.0, 0.5, -0.1), strict=True))


def entry(layers, divergence, samples=32, **changes):
    scores = {"value": 1 - divergence, "loss": divergence, "divergence": divergence}
    return log_entry(layers, samples=samples, **{**scores, **changes})


def scored(sizes, pairs=(), offsets=None):
    """Every subset of the sizes; layers add up, pairs add to that, and each size starts from elsewhere."""
    pairs, offsets = dict(pairs), offsets or {}
    return [
        entry(
            subset,
            offsets.get(size, size)
            + sum(EFFECTS[layer] for layer in subset)
            + sum(more for pair, more in pairs.items() if set(pair) <= set(subset)),
        )
        for size in sizes
        for subset in combinations(LAYERS, size)
    ]


def test_only_like_is_compared_with_like():
    """More layers and fewer samples are worse for every layer; that says nothing of one of them."""
    log = [
        *scored([2, 3]),
        *(entry(subset, 9.0, samples=64) for subset in ("AB", "CD")),
        entry("A", 5.0, trained=3, proposal=1),
        entry("B", 5.0, trained=3, proposal=1),
        entry("A", 7.0, trained=3, proposal=2),
        entry("C", 6.0, trained=3, proposal=2),
    ]
    assert sorted(len(group) for group in group_comparable(log)) == [2, 2, 2, 15, 20]
    assert len({len(found.layers) for group in group_comparable(log) for found in group[:1]}) == 3


def test_a_contrast_is_what_least_squares_with_a_constant_for_each_group_gives():
    rng = np.random.default_rng(0)
    log = [entry(subset, float(rng.normal()), samples=int(rng.integers(1, 4))) for subset in combinations(LAYERS, 3)]
    groups = group_comparable(log)
    found = contrast_layer(groups, "B", "divergence")
    number = {id(found): place for place, group in enumerate(groups) for found in group}
    design = np.array([[number[id(e)] == place for place in range(len(groups))] + ["B" in e.layers] for e in log])
    solved = np.linalg.lstsq(design.astype(float), np.array([e.divergence for e in log]), rcond=None)[0]
    assert found.effect == pytest.approx(solved[-1])


def test_additive_layers_have_their_own_effects_whatever_the_size():
    groups = group_comparable(scored([1, 2, 3], offsets={1: 0, 2: 50, 3: -7}))
    mean = sum(EFFECTS.values()) / len(EFFECTS)
    for layer, effect in EFFECTS.items():
        # What goes instead of a layer is one of the others, so effects are relative to theirs.
        expected = (effect - mean) * len(LAYERS) / (len(LAYERS) - 1)
        assert contrast_layer(groups, layer, "divergence").effect == pytest.approx(expected)


def test_nothing_to_compare_with():
    assert contrast_layer(group_comparable([entry("AB", 1.0)]), "A", "value") is None


def test_the_planted_interactions_are_found():
    found = fit_interactions(group_comparable(scored([2, 3, 4], {"AC": 0.8, "DE": -0.5})), LAYERS)
    first, second = found.pairs[:2]
    assert (first.layers, second.layers) == (("A", "C"), ("D", "E"))
    assert first.effect > 0.5 > 0 > -0.3 > second.effect
    assert max(abs(pair.effect) for pair in found.pairs[2:]) < 0.3
    assert found.r2 > 0.99 > found.r2_layers


def test_layers_that_only_add_up_do_not_interact():
    found = fit_interactions(group_comparable(scored([2, 3, 4])), LAYERS)
    assert found.r2_layers == pytest.approx(1)
    assert max(abs(pair.effect) for pair in found.pairs) < 1e-9


def test_too_few_subsets_tell_of_no_interactions():
    found = fit_interactions(group_comparable(scored([3])), LAYERS)
    assert (found.subsets, found.needed, found.r2, found.pairs) == (20, 22, None, ())


def test_one_layer_interacts_with_none():
    groups = [[entry("A", 1.0), entry("", 0.0)]]
    assert fit_interactions(groups, "A").pairs == ()


def test_subsets_that_all_diverge_alike_explain_nothing():
    log = [entry(subset, 1.0) for size in (2, 3) for subset in combinations(LAYERS, size)]
    found = fit_interactions(group_comparable(log), LAYERS)
    assert {pair.effect for pair in found.pairs} == {0}


def test_an_explanation_says_what_the_log_says(run_here):
    result = das("explain", run_here, "--json")
    assert result.exit_code == 0, result.stderr
    found, run = json.loads(result.stdout), open_run(run_here)
    log, pick = run.search_log(), run.manifest.plan.layers
    assert tuple(found["pick"]) == pick
    assert [layer["name"] for layer in found["layers"]] == list(run.manifest.candidates)
    for layer in found["layers"]:
        assert layer["times"] == sum(layer["name"] in line.layers for line in log)
        assert layer["skipped"] == (layer["name"] in pick)
        assert layer["why"].startswith("cut: " if layer["skipped"] else "kept: ")
        assert layer["gates"] == []
    widest, *_, last = found["standings"]
    assert (widest["scored"], widest["subsets"]) == (495, 495)
    alike = [line for line in log if line.samples == last["samples"] and len(line.layers) == 8]
    mine = next(line for line in alike if set(line.layers) == set(pick))
    better = [line for line in alike if (-line.readable, line.divergence) < (-mine.readable, mine.divergence)]
    assert last["rank"] == 1 + len(better) == 1
    assert last["regret"] == 0


def test_it_is_drawn_within_80_columns(run_here):
    result = das("explain", run_here)
    assert result.exit_code == 0, result.stderr
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "\x1b" not in result.stdout
    text = " ".join(result.stdout.split())
    assert "R²" in text
    assert "Of the 495 scored on 8 samples it is number" in text


def test_one_layer(run_here):
    text = " ".join(das("explain", run_here, "--layer", "FV0").stdout.split())
    assert "What skipping FV0 does" in text
    assert "FL1 cut" not in text
    assert "FL1 kept" not in text
    found = json.loads(das("explain", run_here, "--layer", "FV0", "--json").stdout)
    assert [layer["name"] for layer in found["layers"]] == ["FV0"]
    assert all("FV0" in pair["layers"] for pair in found["interactions"]["pairs"])


def test_a_layer_that_was_no_candidate(run_here):
    result = das("explain", run_here, "--layer", "LEn0")
    stopped(result, 2, "unknown-layer", "LEn0", "one of FL0-5, FV0-5")


def test_a_log_that_is_gone(run_here):
    (run_here / "search.jsonl").write_text("")
    result = das("explain", run_here)
    stopped(result, 3, "search-log-missing", "search.jsonl")


def small(strategy, **changes):
    """A search of 3 of 6 layers: 20 subsets."""
    return compress(
        Settings(
            **{
                "checkpoint": "meter.ckpt",
                "task": "vqa",
                "skip": 3,
                "scope": "FL*",
                "strategy": strategy,
                "recover": "none",
                "search_epochs": 1.0,
                "batch_size": 32,
            }
            | changes
        )
    )


def test_the_gates_of_das(workshop):
    run = small("das")
    found = explain_layers(run)
    updates = {line.proposal for line in run.search_log() if line.gates}
    final = [line.gates for line in run.search_log() if line.gates][-1]
    for layer in found.layers:
        assert len(layer.gates) == len(updates)
        assert layer.gates[-1] == final[layer.name]
        place = 1 + sum(gate > final[layer.name] for gate in final.values())
        assert f"number {place} of 6" in layer.why
        assert layer.skipped == (place <= 3)
    assert (
        found.standings == ()
    )  # it trained: nothing else was scored with the adapters that the choice was scored with
    result = das("explain", run.path)
    assert "Gates over" in result.stdout
    assert "das explain --regret" in result.stdout


@pytest.mark.parametrize("strategy", slow_but(["random"], ["random", "influence"]))
def test_strategies_that_score_nothing_else(workshop, strategy):
    found = explain_layers(small(strategy))
    assert all(layer.value is None for layer in found.layers)
    assert found.interactions.pairs == ()
    assert found.standings == ()
    assert das("explain").exit_code == 0


def test_regret_is_counted_against_every_subset(workshop):
    whole, drawn = small("exhaustive"), small("random", seed=0)
    (exact,) = explain_layers(whole).standings
    assert (exact.rank, exact.regret, exact.scored, exact.subsets) == (1, 0, 20, 20)
    found = enumerate_all(drawn).standing
    log = {frozenset(line.layers): line for line in whole.search_log()}
    mine = log[frozenset(drawn.manifest.plan.layers)]
    assert found.best == exact.best
    assert found.samples == mine.samples
    assert found.regret == pytest.approx(max(line.value for line in log.values()) - mine.value)
    worse = [line for line in log.values() if (-line.value, line.divergence) > (-mine.value, mine.divergence)]
    assert found.rank == 20 - len(worse)
    result = das("explain", drawn.path, "--regret")
    assert result.exit_code == 0, result.stderr
    assert "forward passes of the full model" in result.stderr  # its price comes first
    assert f"Rank {found.rank} of all 20 subsets" in " ".join(result.stdout.split())


def test_regret_needs_the_checkpoint_that_was_compressed(workshop):
    run = small("random")
    (workshop / "meter.ckpt").rename(workshop / "moved.ckpt")
    result = das("explain", run.path, "--regret")
    stopped(result, 3, "checkpoint-gone", "meter.ckpt")
    (workshop / "meter.ckpt").write_bytes((workshop / "moved.ckpt").read_bytes() + b" ")
    stopped(das("explain", run.path, "--regret"), 3, "checkpoint-changed", "meter.ckpt")


def test_regret_of_an_untrained_head_is_refused(run_here):
    manifest = json.loads((run_here / "manifest.json").read_text())
    manifest["settings"]["adapt"] = True
    (run_here / "manifest.json").write_text(json.dumps(manifest))
    result = das("explain", run_here, "--regret")
    stopped(result, 3, "head-not-trained", "--adapt")


class CtrlC(StepProgress):
    """Presses it in the middle of the scoring."""

    def step(self, label, number):
        if "Scoring" in label and number == 3:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_subsets_are_scored(workshop, monkeypatch):
    run = small("random")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("das.terminal.progress", CtrlC)
    try:
        result = das("explain", run.path, "--regret")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert "nothing was kept" in result.stderr


def test_the_report_compares_what_is_comparable(shared_run):
    """Its table of layers without gates."""
    manifest, log = shared_run.manifest, shared_run.search_log()
    found = describe_candidates(manifest.family, manifest.candidates, manifest.plan, log)
    assert all(candidate.gate is None and candidate.reward_kept is None for candidate in found)
    pick = frozenset(manifest.plan.layers)
    whys = {layer.name: layer.why for layer in explain_layers(shared_run).layers}
    for candidate in found:
        best = candidate.best
        if best is None:
            assert "was scored" in whys[candidate.name]
            continue
        alike = [entry for entry in log if len(entry.layers) == len(pick) and entry.samples == best.samples]
        chosen = next(entry for entry in alike if frozenset(entry.layers) == pick)
        assert (best.skipped if candidate.skipped else best.kept) == chosen.value
        others = [entry for entry in alike if (candidate.name in entry.layers) != candidate.skipped]
        other = min(others, key=lambda entry: (-(entry.readable or entry.value), entry.divergence))
        assert (best.kept if candidate.skipped else best.skipped) == other.value
        if other.readable is not None:
            assert (best.kept_readable if candidate.skipped else best.skipped_readable) == other.readable
            told = f"leaves {other.readable:.1%} of the answers readable, the pick {chosen.readable:.1%}"
            assert told in whys[candidate.name]


@pytest.mark.parametrize(
    ("rival", "says"),
    [
        (entry("C", 0.9, value=0.5), "the best subset that keeps it scores 50.00, the pick 75.00 (32 samples)"),
        (
            entry("C", 0.9, value=0.9, readable=0.5),
            "the best subset that keeps it leaves 50.0% of the answers readable, the pick 75.0% (32 samples)",
        ),
        (entry("C", 0.9, value=0.75), "scores as much and diverges by 0.9, the pick by 0.4"),
        (entry("C", 0.9, value=0.8), "diverges by 0.9, the pick by 0.4"),
    ],
)
def test_why_names_what_told_the_choice_from_the_best_of_the_others(run_here, rival, says):
    """On the most samples that both were scored on; where the score speaks against the choice, the divergence."""
    run = open_run(run_here)
    pick = run.manifest.plan.layers
    kept = next(name for name in run.manifest.candidates if name not in pick)
    other = (*pick[1:], kept)
    log = [
        entry(pick, 0.4, value=0.75, readable=None if rival.readable is None else 0.75),
        rival.model_copy(update={"layers": other}),
        entry(pick, 0.3, samples=64, value=0.7),
    ]
    (run_here / "search.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in log))
    why = {layer.name: layer.why for layer in explain_layers(run).layers}
    assert says in why[pick[0]]
    assert "no subset of 8 layers that keeps it was scored" in why[pick[1]]


def test_the_gates_as_a_figure_and_the_scores_without_gates(run_here, tmp_path):
    figure = tmp_path / "figure.svg"

    def texts():
        assert das("explain", run_here, "--svg", figure).exit_code == 0
        return {text.strip() for text in ElementTree.parse(figure).getroot().itertext()}

    stopped(das("explain", run_here, "--layer", "FL99", "--svg", figure), 2, "unknown-layer")
    assert not figure.exists()
    assert "that skips it" in texts()
    run = open_run(run_here)
    gates = dict.fromkeys(run.manifest.candidates, 0.1)
    log = [entry.model_copy(update={"gates": gates | dict.fromkeys(entry.layers, 0.2)}) for entry in run.search_log()]
    (run_here / "search.jsonl").write_text("".join(entry.model_dump_json() + "\n" for entry in log))
    assert {"update", "gate", "FL0"} <= texts()


def test_a_search_that_compared_nothing_has_no_figure(run_here, tmp_path):
    log = (run_here / "search.jsonl").read_text().splitlines()
    (run_here / "search.jsonl").write_text(log[-1] + "\n")
    stopped(das("explain", run_here, "--svg", tmp_path / "none.svg"), 3, "nothing-to-draw", "strategy auto")
    assert not (tmp_path / "none.svg").exists()

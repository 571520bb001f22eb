"""Every budget from one search: prices, the front, and what is drawn of them."""

import json
from xml.etree import ElementTree

import pytest

from compressor.saved_run.run_folder import Run, open_run
from compressor.search.budgets import Amount, Budget, BudgetResult, Prices
from compressor.search.result import Point, SearchResult
from profiles.analysis.pareto import build_pareto
from tests.support.command_line import das, stopped

VALUES = {"": 0.9, "A": 0.8, "B": 0.9, "C": 0.5, "AB": 0.8, "AC": 0.4, "ABC": 0.4}
SAVED = {"A": 20, "B": 10, "C": 30}


def record(**changes):
    """A search of three layers that was asked for one, and came by two and three."""
    points = tuple(Point(layers=tuple(k), value=v, loss=1.0, divergence=1 - v) for k, v in VALUES.items() if k)
    full = Point(layers=(), value=VALUES[""], loss=1.0, divergence=0.0)
    found = SearchResult(
        strategy="auto",
        sizes=(1,),
        metric="accuracy",
        samples=100,
        full=full,
        points=points,
        chosen={1: ("B",), 2: ("A", "B"), 3: ("A", "B", "C")},
        forwards={},
        macs=100,
        macs_saved=SAVED,
        parameters=1000,
        parameters_saved={"A": 100, "B": 200, "C": 300},
    )
    return found.model_copy(update=changes)


@pytest.fixture
def small(run_here):
    """The run with the made-up search; its own plan stays, so that has a price, too."""
    run = open_run(run_here)
    plan = dict.fromkeys(run.manifest.plan.layers, 5)
    found = record(macs_saved=SAVED | plan, parameters_saved=plan | {"A": 100, "B": 200, "C": 300})
    (run_here / "search.json").write_text(found.model_dump_json())
    return run


def names(points):
    return {"".join(point.layers) for point in points}


def test_the_front_is_what_nothing_as_cheap_beats(small):
    report = build_pareto(small)
    assert {"".join(point.layers): point.share for point in report.points} == {
        layers: 1 - sum(SAVED[layer] for layer in layers) / 100 for layers in VALUES
    }
    assert [point.cost for point in report.points] == sorted((point.cost for point in report.points), reverse=True)
    # A is as good as A and B and costs more; B is as good as the full model, which does not diverge from itself.
    assert names(point for point in report.points if point.front) == {"", "B", "AB", "ABC"}
    assert names(point for point in report.points if point.asked) == {"A", "B", "C"}
    assert names(point for point in report.points if point.chosen) == {"B", "AB", "ABC"}
    assert report.points[0].drop == 0
    assert next(point.drop for point in report.points if point.layers == ("C",)) == pytest.approx(0.4)


def test_what_is_on_the_front_beside_the_choices_is_listed(small):
    changed = small.search_result().model_copy(update={"chosen": {2: ("A", "B"), 3: ("A", "B", "C")}})
    (small.path / "search.json").write_text(changed.model_dump_json())
    assert [point.layers for point in build_pareto(small).rows] == [(), ("B",), ("A", "B"), ("A", "B", "C")]


def test_parameters_are_priced_by_their_own(small):
    shares = {"".join(point.layers): point.share for point in build_pareto(small, "params").points}
    assert shares["C"] == pytest.approx(0.7)
    assert shares["AB"] == pytest.approx(0.7)


def test_a_cost_that_a_budget_measured(small):
    plan = small.manifest.plan.layers
    prices = Prices(full=8.0, saved=dict.fromkeys((*"ABC", *plan), 0.5))
    budget = Budget(kind="latency", limit=0.9, relative=True, at="p50", runtime="onnx")
    result = BudgetResult(budget=budget, prices=prices, predicted=Amount(full=8.0, slim=4.0))
    timed = Run(small.path, small.manifest.model_copy(update={"budget": result}))
    points = build_pareto(timed, "latency").points
    assert {len(point.layers): point.cost for point in points} == {
        0: 8,
        1: 7.5,
        2: 7,
        3: 6.5,
    }


def test_every_number_of_layers_from_one_search(run_here, monkeypatch):
    """Neither the slim weights nor the checkpoint are needed."""
    (run_here / "model.safetensors").unlink()
    monkeypatch.chdir(run_here.parent)
    result = das("pareto", run_here, "--json")
    assert result.exit_code == 0, result.stderr
    found, searched = json.loads(result.stdout), json.loads((run_here / "search.json").read_text())
    chosen = {len(point["layers"]): point for point in found["points"] if point["chosen"]}
    assert {str(size): point["layers"] for size, point in chosen.items()} == searched["chosen"]
    assert set(chosen) == set(range(1, 13))
    assert [size for size, point in chosen.items() if point["asked"]] == [8]
    saved = sum(searched["macs_saved"][layer] for layer in chosen[8]["layers"])
    assert chosen[8]["share"] == pytest.approx(1 - saved / searched["macs"])
    manifest = json.loads((run_here / "manifest.json").read_text())
    assert found["own"]["slim"] == manifest["results"]["slim"]
    assert found["own"]["share_by_layers"] == pytest.approx(chosen[8]["share"])
    counted = manifest["costs"]["macs"]
    assert found["own"]["share"] == counted["slim"] / counted["full"] < found["own"]["share_by_layers"]


def test_the_plot_fits_into_80_columns_and_needs_no_colour(run_here):
    result = das("pareto", run_here)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "\x1b" not in result.stdout
    plot = [line.partition("│")[2] for line in lines if "│" in line]
    assert any(line.rstrip().endswith("0") for line in plot)  # the full model is the dearest
    assert any("12" in line for line in plot)
    assert "das compress --from" in lines[-1]


def test_the_figure_is_the_same_file_every_time(run_here, tmp_path):
    drawn = []
    for name in ("one.svg", "two.svg"):
        assert das("pareto", run_here, "--svg", tmp_path / name).exit_code == 0
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    texts = {"".join(node.itertext()).strip() for node in ElementTree.fromstring(drawn[0]).iter() if "text" in node.tag}
    assert {"MACs by layers, % of the full model", "front", "full model", "scored subset", "12"} <= texts
    assert any(text.startswith("VQA score, %") for text in texts)
    assert b"dc:date" not in drawn[0]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code", "value"),
    [
        (("--cost", "money"), 2, "unknown-cost", "one of macs, params"),
        (("--svg", "missing/front.svg"), 5, "cannot-write", "missing/front.svg"),
        (("--svg", "."), 5, "cannot-write", "."),
    ],
)
def test_wrong_options(run_here, arguments, exit_code, code, value):
    stopped(das("pareto", run_here, *arguments), exit_code, code, value)


@pytest.mark.parametrize("command", ["pareto", "explain"])
def test_a_run_without_a_search(run_here, command):
    (run_here / "search.json").unlink()
    result = das(command, run_here)
    stopped(result, 3, "run-without-search", "search.json", "--skip 8")

"""What runs of a table come to: spreads, differences and what is said of them."""

import pytest
from rich.console import Console

from compressor.architectures.meter import MeterDims
from compressor.costs.part_names import PARALLEL
from compressor.evaluation.score import Score
from das.render.rich_tables import draw
from profiles.paper.comparability import list_differences
from profiles.paper.printed import parts_of
from profiles.paper.reproduction import (
    BEYOND,
    NOISE,
    UNKNOWN,
    WITHIN,
    Failure,
    Measurement,
    PlainModel,
    ReproducedRow,
    Reproduction,
    complete_rows,
    measure_run,
)
from profiles.paper.reproduction_tables import WORDS, describe_reproduction, tabulate_reproduction
from profiles.paper.save_reproduction import render_markdown, render_page
from profiles.paper.table_rows import LEFT_OUT
from profiles.timing.latency import summarise_times
from tests.support.command_line import follows_its_schema
from tests.support.reports import place

(PART,) = parts_of("table-b")


def measured(value, seed=0, layers=("FL0", "FV0"), macs=-11_158_000_000):
    score = Score(metric="VQA score", value=value, margin=0.02, samples=1500, loss=1.0)
    return Measurement(
        seed=seed,
        folder=f"row-seed{seed}",
        layers=layers,
        score=score,
        updated_parameters={"skip adapters": 7, "head": 9},
        as_counted=7,
        additional_macs=macs,
        seconds=60.0,
    )


def row(name, values, **more):
    runs = tuple(measured(value, seed) for seed, value in enumerate(values))
    own = {"name": name, "title": f"the {name}", "method": "das", "skip": 4, "runs": runs}
    return ReproducedRow(**{**own, **more})


def verdict(ours, theirs, full=None):
    against = {"ours": ["theirs", "full model"], "theirs": []}
    scores = {"full model": measured(full).score} if full else {}
    found, _ = complete_rows([row("ours", ours), row("theirs", theirs)], against, scores)
    return {entry.other: entry for entry in found.compared}


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ([0.70, 0.72, 0.74], [0.71, 0.73, 0.75], NOISE),
        ([0.700, 0.701, 0.699], [0.710, 0.711, 0.709], WITHIN),
        ([0.700, 0.701, 0.699], [0.80, 0.81, 0.79], BEYOND),
        ([0.70], [0.80], UNKNOWN),
    ],
)
def test_a_difference_is_judged_by_seeds_and_samples(ours, theirs, says):
    (found,) = verdict(ours, theirs).values()
    assert found.other == "the theirs"
    assert found.verdict == says
    assert found.difference.value == pytest.approx(sum(ours) / len(ours) - sum(theirs) / len(theirs))


def test_a_row_is_compared_with_a_model_that_has_no_seeds():
    found = verdict([0.70, 0.71, 0.72], [0.7], full=0.80)["full model"]
    assert found.difference.value == pytest.approx(-0.09)
    assert found.difference.high == pytest.approx(-0.09 + 4.303 * 0.01 / 3**0.5, abs=1e-4)  # Student's t of 2 degrees
    assert found.verdict == BEYOND


def test_rows_without_runs_are_compared_with_nothing():
    rows = complete_rows([row("ours", [0.7]), row("theirs", [])], {"ours": ["theirs"], "theirs": ["ours"]}, {})
    assert [entry.compared for entry in rows] == [(), ()]
    assert rows[1].score is None


def report(**changes):
    latency = summarise_times([20.0] * 20)
    random = tuple(measured(value, seed // 3) for seed, value in enumerate((0.60, 0.62, 0.58, 0.61, 0.6, 0.59)))
    rows = (
        row("random-8", [], runs=random, printed=PART.find("random", 8, "fusion")),
        row("das-8", [0.66, 0.67], latency=latency, printed=parts_of("table-a")[0].find("das", 8, "fusion")),
        row("auto-8", [], missing="auto asks a trained head"),
        row("das-6", [], missing=LEFT_OUT),
        row("das-4", [], failures=(Failure(seed=1, folder="x", codes=("a-code",), found="it diverged", fix="less"),)),
    )
    own = {
        "table": "table-b",
        "checkpoint": "a_rather_long_name_of_a_checkpoint.ckpt",
        "family": "meter",
        "task": "vqa",
        "fine_tuned": True,
        "dataset": "VQA",
        "split": "test-dev",
        "differs": (),
        "seeds": (0, 1),
        "plain": PlainModel(macs=93 * 10**9, parameters=10**8, score=measured(0.7).score, latency=latency),
        "rows": complete_rows(rows, {entry.name: ["random-8"] * (entry.name == "das-8") for entry in rows}, {}),
        "data": tuple(
            {"name": name, "files": ["vqav2_val.arrow"], "rows": 1500, "fingerprint": "0123456789abcdef"}
            | {"dropped": 100 * (name == "train"), "unreadable": ["row 7: no image"] * (name == "val")}
            for name in ("train", "train, a tenth", "val")
        ),
        "settings": {},
        "environment": place(),
        "folder": "runs/table-b",
        "command": "das reproduce table-b",
    }
    return Reproduction(**{**own, **changes})


def test_the_papers_figures_stand_beside_the_measured_ones():
    scores, costs, differences, runs = tabulate_reproduction(report())
    assert scores.rows[0] == ("full model", "70.00", "-", "-", "-")
    assert scores.rows[1] == ("the random-8", "60.00 ± 1.41", "58.52 to 61.48", "6", "70.08 (68.56 to 71.81)")
    assert scores.rows[2] == ("the das-8", "66.50 ± 0.71", "60.15 to 72.85", "2", "73.70")
    assert costs.rows[1] == ("the random-8", "7", "-", "-11.16 G", "-24.00 G*", "60", "")
    assert costs.rows[2][-2:] == ("60", "20.0")
    assert differences.rows == (("the das-8", "the random-8", "+6.50", "+4.38 to +8.62", BEYOND),)  # Welch, 4 degrees
    assert runs.rows[-1] == ("the das-8", "1", "67.00 ± 2.00", "FL0, FV0")


def test_recalls_are_printed_both_ways():
    part = next(part for part in parts_of("table-a") if part.task == "irtr")
    found = tabulate_reproduction(report(rows=complete_rows([row("a", [0.8], printed=part.rows[:1])], {"a": []}, {})))
    assert found[0].rows[1][-1] == "81.20/92.40"


def test_sentences_say_what_is_noise_and_what_is_not_there():
    text = "\n".join(describe_reproduction(report()))
    for said in (
        "Left out by --rows: das-6.",
        "Not run: the auto-8: auto asks a trained head.",
        "FAILED: the das-4, seed 1: it diverged (fix: less).",
        "* The paper's row for the random-8 contradicts itself: 3 FL and 5 FV layers are named",
        "sampling margin of ± 2.00 points (95 %, 1,500 samples of val,",
        "Sizes of model and data are the paper's.",
    ):
        assert said in text
    assert "Sizes of model" not in "\n".join(describe_reproduction(report(differs=("Another model.",))))


def test_no_line_is_wider_than_80_columns_and_no_number_is_cut():
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for table in tabulate_reproduction(report()):
            console.print(draw(table, WORDS, width=80))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    for number in ("60.00 ± 1.41", "58.52 to 61.48", "70.08 (68.56 to 71.81)", "-24.00 G*"):
        assert any(number in line for line in lines), number


def test_the_pages_hold_every_figure_and_nothing_of_others():
    markdown, page = render_markdown(report()), render_page(report(checkpoint="<b>.ckpt"))
    left_out = ("100 left out: no answer of theirs", "val: vqav2_val.arrow, 1500", "1 unreadable (row 7: no image)")
    for said in ("60.00 ± 1.41", "-24.00 G*", "FL0, FV0", "das reproduce table-b", "Not run: the auto-8", *left_out):
        assert said in markdown
        assert said in page
    assert "<b>" not in page
    assert "http:" not in page
    follows_its_schema("reproduce", report().model_dump_json())


@pytest.mark.parametrize(
    ("family", "dims", "samples", "says"),
    [
        ("meter", {}, 6967, []),
        ("meter", {"image_size": 384}, 6967, ["288 pixels on a side, these 384"]),
        ("meter", {"fusion_layers": 4}, 6967, ["not the sizes"]),
        ("meter", {"hidden": 384}, 6967, ["not the sizes"]),
        ("meter", {"text_length": 50}, 6967, ["at 40 tokens of text, here they are counted at 50"]),
        ("meter", {}, 100, ["the 6,967 samples of NLVR2's test-P, here are 100"]),
    ],
)
def test_what_sizes_show_to_differ_is_said(family, dims, samples, says):
    part = next(part for part in parts_of("table-a") if part.dataset == "NLVR2")
    own = MeterDims(**{"image_size": 288, "text_length": 40, "images": 2, **dims})
    found = list_differences(part, family, "nlvr2", own, samples)
    assert len(found) == len(says)
    assert all(said in sentence for said, sentence in zip(says, found, strict=True))


def test_answers_on_a_server_are_said_to_be_there():
    dims = MeterDims(text_length=40)
    assert "a server keeps" in list_differences(PART, "meter", "vqa", dims, 26_000)[0]


def test_macs_of_a_run_are_those_that_the_paper_counts(shared_run):
    """Neither trims nor parallel adapters of the full model are in the difference."""
    manifest = shared_run.manifest
    found = measure_run(manifest, "somewhere", 0)
    costs = manifest.costs
    assert found.additional_macs == costs.trims.before - costs.macs.full < 0
    assert found.as_counted == manifest.updated_parameters["skip adapters"]
    beside = costs.macs_by_pool | {PARALLEL: costs.macs_by_pool[PARALLEL].model_copy(update={"full": 1000})}
    adapted = manifest.model_copy(update={"costs": costs.model_copy(update={"macs_by_pool": beside})})
    assert measure_run(adapted, "somewhere", 0).additional_macs == found.additional_macs + 1000
    assert found.seconds == pytest.approx(
        sum(took for stage, took in manifest.results.seconds.items() if stage != "evaluate")
    )

"""Which rows of the paper's tables a model can have."""

import pytest

from compressor.errors import UsageError
from profiles.paper.table_rows import (
    Attempt,
    Subject,
    check_table,
    choose_part,
    choose_rows,
    find_printed,
    list_rows,
)
from tests.support.command_line import refused


def meter(layers=6, task="vqa", fine_tuned=False):
    fusion = {"fusion-language": layers, "fusion-vision": layers}
    scopes = {"fusion": fusion, "global": {**fusion, "language": 12}}
    return Subject("meter", task, scopes, 768, fine_tuned)


def encoder(layers=12, family="roberta", task="text-classification", hidden=768, fine_tuned=False):
    return Subject(family, task, {"encoder": {"encoder": layers}}, hidden, fine_tuned)


def by_name(table, subject):
    return {row.name: row for row in list_rows(table, subject)}


def test_table_a_of_a_pre_trained_meter_is_the_printed_one():
    rows = by_name("table-a", meter())
    sizes = [f"{scope}-{skip}" for scope in ("fusion", "global") for skip in (2, 4, 6, 8)]
    assert list(rows) == ["skip-0", *sizes]
    assert not any(row.missing for row in rows.values())
    assert rows["skip-0"].options == {"skip": 0, "adapt": True, "parallel_width": 96}
    assert rows["global-8"].options == {
        **{"skip": 8, "strategy": "das", "scope": "global"},
        **{"adapt": True, "parallel_width": 96},
    }
    assert rows["global-8"].against == ("skip-0",)
    (part,) = check_table("table-a", meter())
    assert [printed.score for printed in find_printed(part, rows["global-8"])] == [74.05]


def test_each_data_set_has_the_rows_that_are_printed_for_it():
    assert list(by_name("table-a", meter(task="irtr"))) == ["skip-0", "fusion-4", "global-4"]
    assert list(by_name("table-a", encoder(family="vilt", task="vqa"))) == ["skip-0", "skip-1"]
    assert list(by_name("table-a", encoder(family="vilt", task="nlvr2"))) == ["skip-0", "skip-1", "skip-2"]


def test_adapters_are_as_wide_as_the_table_has_them_in_proportion():
    """ViLT's 80 and 256, and at half the width half of them; the one scope of a ViLT need not be named."""
    rows = by_name("table-a", encoder(family="vilt", task="vqa"))
    assert rows["skip-1"].options == {
        **{"skip": 1, "strategy": "das", "adapt": True},
        **{"parallel_width": 80, "skip_width": 256},
    }
    narrow = by_name("table-a", encoder(family="vilt", task="vqa", hidden=384))["skip-1"].options
    assert (narrow["parallel_width"], narrow["skip_width"]) == (40, 128)
    assert by_name("table-c", encoder(hidden=8))["das-1"].options["skip_width"] == 1


def test_a_fine_tuned_checkpoint_is_compressed_as_it_is():
    rows = by_name("table-a", meter(fine_tuned=True))
    assert rows["fusion-2"].options == {"skip": 2, "strategy": "das", "scope": "fusion"}
    assert "score of the full model" in rows["skip-0"].missing
    assert rows["fusion-2"].against == ("full model",)


def test_table_b_draws_three_subsets_of_each_size_and_auto_needs_a_head():
    rows = by_name("table-b", meter())
    assert list(rows) == [f"{method}-{skip}" for skip in (4, 6, 8) for method in ("random", "das", "auto")]
    random = rows["random-6"]
    assert (random.draws, random.options["strategy"], random.options["balanced"]) == (3, "random", True)
    assert "balanced" not in rows["das-6"].options
    assert "has none" in rows["auto-4"].missing
    tuned = by_name("table-b", meter(fine_tuned=True))
    assert not tuned["auto-4"].missing
    assert tuned["auto-4"].against == ("random-4", "das-4")
    (part,) = check_table("table-b", meter())
    assert [printed.score for printed in find_printed(part, rows["das-4"])] == [74.80]
    assert len(find_printed(part, random)) == 3
    assert find_printed(part, rows["auto-4"]) == ()


def test_no_two_runs_of_a_row_are_drawn_alike():
    rows = by_name("table-b", meter())
    for row in (rows["random-4"], rows["das-4"]):
        attempts = [Attempt(row, seed, draw) for seed in range(4) for draw in range(row.draws)]
        assert len({attempt.lot for attempt in attempts}) == len({attempt.folder for attempt in attempts})
        assert len({attempt.folder for attempt in attempts}) == len(attempts)


def test_table_c_ends_with_what_skips_layers_of_the_tuned_model():
    rows = by_name("table-c", encoder())
    assert list(rows)[:6] == ["full", "bitfit", "prefix", "lora", "adapter", "mam"]
    assert list(rows)[6:] == ["das-1", "das-2", "das-3", "tuned-das-2", "tuned-auto-2"]
    assert rows["das-3"].options == {
        **{"skip": 3, "strategy": "das", "adapt": True},
        **{"parallel_width": 32, "skip_width": 32},
    }
    assert (rows["tuned-auto-2"].start, rows["tuned-auto-2"].options) == ("full", {"skip": 2, "strategy": "auto"})
    part = choose_part(check_table("table-c", encoder()), classes=3)
    assert [printed.score for printed in find_printed(part, rows["lora"])] == [87.2]
    assert find_printed(part, rows["tuned-das-2"]) == ()


@pytest.mark.parametrize(("classes", "dataset"), [(2, "SST-2"), (3, "MNLI"), (6, "SST-2")])
def test_the_data_set_of_as_many_classes_stands_beside(classes, dataset):
    assert choose_part(check_table("table-c", encoder(family="bert")), classes).dataset == dataset


@pytest.mark.parametrize(
    ("table", "subject", "missing"),
    [
        ("table-a", meter(3), {"fusion-6", "fusion-8"}),
        ("table-b", meter(3, fine_tuned=True), {f"{m}-{k}" for m in ("random", "das", "auto") for k in (6, 8)}),
        ("table-c", encoder(2), {"das-2", "das-3", "tuned-das-2", "tuned-auto-2"}),
        ("table-c", encoder(6), set()),
    ],
)
def test_sizes_that_leave_nothing_to_choose_are_named(table, subject, missing):
    rows = by_name(table, subject)
    assert {name for name, row in rows.items() if row.missing and name != "skip-0"} == missing
    assert all("layers to choose" in rows[name].missing for name in missing)


def test_rows_that_are_asked_for_bring_those_they_begin_with():
    rows = list_rows("table-c", encoder())
    assert [row.name for row in choose_rows(rows, ["tuned-auto-2", "lora"])] == ["full", "lora", "tuned-auto-2"]
    assert choose_rows(rows, None) == rows
    with refused(UsageError, "unknown-row", "--rows dora", "tuned-auto-2"):
        choose_rows(rows, ["dora"])


@pytest.mark.parametrize(
    ("table", "subject", "code", "fix"),
    [
        ("table-d", meter(), "unknown-table", "table-a"),
        ("table-b", encoder(family="vilt", task="vqa"), "table-of-other-models", "das reproduce table-a"),
        ("table-a", encoder(family="bert"), "table-of-other-models", "das reproduce table-c"),
        ("table-a", meter(task="snli-ve"), "table-of-other-models", "another model or task"),
    ],
)
def test_a_table_of_other_models_is_refused(table, subject, code, fix):
    with refused(UsageError, code, fix):
        list_rows(table, subject)

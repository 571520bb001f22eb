"""MACs of a run in words: what layers and exact trims save apart, and the same in everything that names them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.costs.macs import count_macs
from compressor.costs.model_costs import MacsShare, Pair, Trims, share_macs
from compressor.costs.parts import without_idle
from compressor.models.trims.simplify import trim
from profiles.analysis.pareto import build_pareto
from profiles.comparison.run_vs_run import compare_runs
from profiles.comparison.run_vs_run_tables import tabulate_runs
from profiles.reports.build_report import build_report
from profiles.reports.compression_tables import tabulate_report_costs
from profiles.reports.profile_tables import LAYERS, TRIMS
from profiles.reports.sentences import describe_result
from profiles.timing.sample_batches import make_inputs
from tests.support.command_line import das

COUNTS = st.integers(1, 10**12)


def test_a_share_says_what_layers_and_trims_save():
    share = share_macs(Pair(full=1000, slim=507), Trims(before=669, after=507))
    assert str(share) == "50.7 % of full: layers -33.1 %, exact trims -16.2 %"
    assert str(MacsShare(left=1.0, trims=0.0)) == "100.0 % of full: layers +0.0 %, exact trims +0.0 %"
    assert "layers +0.0 %" in str(MacsShare(left=0.9 - 1e-15, trims=0.1))


@given(COUNTS, COUNTS, COUNTS)
def test_the_parts_add_up_to_the_whole(full, before, after):
    share = share_macs(Pair(full=full, slim=after), Trims(before=before, after=after))
    assert share.left + share.layers + share.trims == pytest.approx(1)
    assert share.layers == pytest.approx(1 - before / full, abs=1e-6 * (1 + before / full))


def test_one_run_has_one_number_everywhere(shared_run):
    costs = shared_run.manifest.costs
    words = str(share := share_macs(costs.macs, costs.trims))
    full = without_idle(shared_run.load_full())
    models = {"full": full, "trimmed": trim(full), "before": shared_run.load_saved(), "slim": shared_run.load_slim()}
    counted = {name: count_macs(model, make_inputs(shared_run, 1)).total for name, model in models.items()}
    assert (costs.macs.full, costs.macs.slim) == (counted["full"], counted["slim"])
    assert costs.trims == Trims(before=counted["before"], after=counted["slim"], full_after=counted["trimmed"])
    assert share.left == counted["slim"] / counted["full"]

    report = build_report(shared_run)
    alone = f"the full model trimmed the same way: {100 * counted['trimmed'] / counted['full']:.1f} %"
    (sentence,) = (line for line in describe_result(report) if line.startswith("MACs "))
    assert words in sentence
    assert alone in sentence
    rows = {row[0]: row for row in tabulate_report_costs(report).rows}
    assert (rows[LAYERS][-1], rows[TRIMS][-1]) == (f"{share.layers:.1%}", f"{share.trims:.1%}")

    assert f"MACs {words}." in " ".join(das("pareto", shared_run.path).stdout.split())
    own = build_pareto(shared_run).own
    assert own.share == share.left
    assert own.share_by_layers == pytest.approx(1 - share.layers)

    (compared,) = compare_runs([shared_run.path]).runs
    assert compared.share == share
    (table,) = (table for table in tabulate_runs(compare_runs([shared_run.path])) if "costs" in table.title)
    cells = {row[0].strip(): row[-1] for row in table.rows[:4]}
    assert cells["of full, %"] == f"{100 * share.left:.1f}"
    assert cells["by layers, %"] == f"{-100 * share.layers:+.1f}"
    assert cells["by exact trims, %"] == f"{-100 * share.trims:+.1f}"


def test_costs_of_an_older_run_say_nothing_of_what_trims_alone_would_give(run_here):
    manifest = json.loads((run_here / "manifest.json").read_text())
    del manifest["costs"]["trims"]["full_after"]
    (run_here / "manifest.json").write_text(json.dumps(manifest))
    shown = das("compare", run_here)
    assert shown.exit_code == 0, shown.stderr

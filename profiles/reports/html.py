"""The report of a run as one page: no script, and nothing that is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from compressor.files import write_text
from compressor.saved_run.run_folder import Run
from compressor.search.result import LogEntry
from profiles.analysis.answer_flips import flips_sentence
from profiles.analysis.pareto import ParetoReport, build_pareto
from profiles.deployment.fastest import describe_fastest
from profiles.gates.budget_check import budget_sentence, tries_table
from profiles.reports import page
from profiles.reports.compression_report import REPORT, CompressionReport
from profiles.reports.compression_tables import tabulate_accuracy, tabulate_exports, tabulate_report_costs
from profiles.reports.plots import DARK, LIGHT
from profiles.reports.profile_tables import describe_speedups, describe_variants, tabulate_times, tabulate_variants
from profiles.reports.sentences import describe_macs, describe_result

PAGE = "report.html"
TEMPLATES, TEMPLATE = "templates", "report.html"
MISSING: Mapping[str, tuple[str, str]] = {
    "full": (
        "The full model had no trained head, so there is no score to compare with.",
        "das compress --from RUN --skip 0 --out REFERENCE, then --reference REFERENCE",
    ),
    "flips": (
        "Which answers changed is not known: that takes a trained head and labels.",
        "das compress CHECKPOINT --data FOLDER",
    ),
    "profile": ("Latency and memory were not measured.", "das profile RUN"),
    "layers": ("Milliseconds of single layers were not measured.", "das profile RUN --layers"),
    "search": (
        "No search chose layers: they were named, drawn by lot, or none was skipped.",
        "das compress CHECKPOINT --skip N",
    ),
    "scores": ("The search left no scores of single layers to compare.", "das compress CHECKPOINT --skip N"),
    "front": ("Without a search there are no other budgets to choose from.", "das compress CHECKPOINT --skip N"),
    "exports": ("Nothing was exported.", "das export RUN --onnx --trt"),
}
"""What is said in place of a part whose values a run does not have, and the command that makes them."""

WORDS: Mapping[str, str] = {
    "skip adapter": "A bottleneck in place of a skipped layer: x + A(x). A parallel adapter stands beside a kept one.",
    "adapters, as the paper counts them": "Their two projections; LayerNorms of adapters, poolers and the head are "
    "named beside them.",
    "strategy": "How the search looks for layers. auto, the default, scores subsets on a few held-out samples, the "
    "better ones on more, the best few on all. das is the paper's: adapters are trained while it chooses.",
    "held-out samples": "Those that layers are chosen on: part of the training data, or named by --holdout; das trains "
    "on none of them.",
    "diverges": "How far the outputs lie from the full model's on the same samples: 0 where they are equal.",
    "effect": "What skipping a layer adds to the divergence, over the subsets that were scored.",
    "front": "The subsets that no cheaper one beats: the choices that are left once a price is set.",
    "trim": "Work that no output depends on, left out: exact, at no cost in accuracy.",
    "certified, parity": "An export was run on real samples, and its outputs and score were compared with PyTorch's.",
    "MACs so": "The part of an export's MACs that its runtime really computes in the precision of the file's name.",
    "MAC": "One multiply-add, 2 FLOPs; the paper's FLOPs are MACs.",
}
"""What the words on this page and in a terminal mean."""


def render_html(report: CompressionReport, log: Sequence[LogEntry] = (), front: ParetoReport | None = None) -> str:
    """Render the report as one page of HTML; missing parts name the command that makes them.

    Args:
        report: of the run.
        log: every subset that its search scored, as :meth:`Run.search_log` has them.
        front: of its search; None without one.
    """
    profile, flips = report.profile, report.flips
    values = {
        "report": report,
        "light": LIGHT,
        "dark": DARK,
        "missing": MISSING,
        "source": REPORT,
        "heading": page.format_heading(report),
        "sentences": describe_result(report),
        "headlines": page.list_headlines(report),
        "pools": page.list_pools(report),
        "states": page.STATES,
        "accuracy": tabulate_accuracy(report),
        "flips": flips,
        "flips_sentence": flips_sentence(flips) if flips else "",
        "flip_types": page.chart_flips(flips) if flips else {},
        "verdicts": (*describe_speedups(profile), *describe_variants(profile)) if profile else (),
        "fastest": describe_fastest(profile.fastest) if profile and profile.fastest else "",
        "latencies": (tabulate_variants(profile), *tabulate_times(profile)) if profile else (),
        "latency_plots": page.plot_latencies(profile) if profile else (),
        "costs": tabulate_report_costs(report),
        "counted": describe_macs(report),
        "layer_costs": page.chart_layer_costs(report),
        "layers_timed": bool(profile and profile.layers),
        "choice": page.plot_choice(report, log),
        "choice_table": page.tabulate_choice(report),
        "front": page.plot_front(front) if front else None,
        "front_table": page.tabulate_front(front) if front else None,
        "exports": tabulate_exports(report) if report.exports else None,
        "tries": tries_table(report.budget) if report.budget and report.budget.tries else None,
        "budget": budget_sentence(report.budget, report.full, report.slim) if report.budget else "",
        "facts": page.list_facts(report),
        "settings": page.tabulate_settings(report),
        "words": WORDS,
    }
    return open_template(TEMPLATE).render(values)


def render_run(run: Run, report: CompressionReport) -> str:
    """Render the page of a run, with the search of its folder.

    Raises:
        InputError: a file of the search is damaged.
    """
    return render_html(report, run.search_log(), build_pareto(run) if run.search_result() else None)


def save_html(run: Run, report: CompressionReport) -> None:
    """Write report.html into the run, whole or not at all.

    Raises:
        InputError: a file of the search is damaged.
        EnvironmentProblem: the folder cannot be written.
    """
    write_text(run.path / PAGE, render_run(run, report))


def open_template(name: str) -> Template:
    """Return one of the pages in ``templates``."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    loader = PackageLoader("profiles.reports", TEMPLATES)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

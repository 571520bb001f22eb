"""MAC counts on the terminal, within 80 columns."""

from __future__ import annotations

from functools import partial

from rich.text import Text

from das.render.rich_tables import draw
from das.terminal import console
from profiles.formatting import HEADER, Table, describe_uncounted, format_count
from profiles.macs.agreement import Agreement, Counts, describe_agreement
from profiles.macs.flops_report import FlopsReport


def print_flops(report: FlopsReport) -> None:
    """Draw MACs by part, the uncounted operators, and with a check the agreement of the counts."""
    console.print(draw(tabulate_flops(report)))
    console.print(Text(describe_uncounted(entry.operator for entry in report.uncounted), style="dim"))
    if report.agreement:
        print_agreement(report.agreement)


def tabulate_flops(report: FlopsReport) -> Table:
    """Return the total, its parts, and the difference to the plain full model."""
    show, settings = partial(format_count, like=report.macs), report.settings
    parts = [(f"  {part}", show(macs), f"{macs / report.macs:.1%}") for part, macs in report.by_pool.items() if macs]
    sign = "+" if report.additional_macs > 0 else ""
    difference = ("additional to the plain full model", sign + show(report.additional_macs), "")
    sizes = [report.family]
    sizes += ["{} x {} px".format(*settings.image_size)] if settings.image_size else []
    sizes += [f"{settings.text_length} tokens"] if settings.text_length else []
    sizes += [f"{sum(settings.merged_tokens)} image tokens merged"] if settings.merged_tokens else []
    title = ", ".join(sizes)
    return Table(title, ("", HEADER, "share"), (("one forward pass", show(report.macs), ""), *parts, difference))


def print_agreement(agreement: Agreement) -> None:
    """Draw the counts side by side, and a sentence about their agreement."""
    console.print(draw(tabulate_agreement(agreement)))
    text = describe_agreement(agreement)
    console.print(Text(f"{text[0].upper()}{text[1:]}.", style="yellow" if agreement.off else "bold"))


def tabulate_agreement(agreement: Agreement) -> Table:
    """Return the counts of the total, of parts and kinds of operators, and of the steps that they differ on."""
    show = partial(format_count, like=agreement.total.fvcore)

    def row(counts: Counts, indent: str = "  ") -> tuple[str, ...]:
        by_formula = "" if counts.formula is None else show(counts.formula)
        apart = f"{counts.apart:.2%}" if counts.apart else ""
        return (indent + counts.name, show(counts.fvcore), show(counts.torch), by_formula, apart)

    steps = (counts for counts in agreement.steps if counts in agreement.off)
    rows = (row(agreement.total, ""), *map(row, (*agreement.parts, *agreement.kinds, *steps)))
    return Table("MACs, counted three ways", ("", "fvcore", "PyTorch", "formula", "apart"), rows)

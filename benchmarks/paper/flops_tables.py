"""Every row of the paper's Tables A, B and C against the traced count and the closed form.

python -m benchmarks.paper.flops_tables
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.results import write_section
from compressor.architectures.meter import MeterDims, meter_rounds
from compressor.families import FAMILIES
from compressor.families.meter.meter_family import METER
from compressor.models.steps import steps_of
from compressor.models.surgery import make_plan, remove_layers
from compressor.training.recovery import (
    ADAPTER_NORMS,
    PARALLEL_ADAPTERS,
    SKIP_ADAPTERS,
    Recovery,
    count_updated_parameters,
    recovery_groups,
)
from profiles.formatting import HEADER, format_markdown_table
from profiles.macs.formula import count_additional, count_by_part, count_encoder
from profiles.macs.published import count_published
from profiles.paper.printed import DAS, PrintedPart, PrintedRow, read_parts

TEXT_LENGTH = 40
PARALLEL_WIDTH = 96
SKIP_WIDTH = {"FL": 288, "FV": 288, "LEn": 192}
IMAGE_SIZE = {"VQA": 384, "NLVR2": 288, "Flickr30k": 384}
TOLERANCE = 0.02


@dataclass(frozen=True)
class Row:
    """One row of the paper; ``gmacs`` is its "Additional FLOPs" in G.

    ``doubt`` says what is wrong with a row that contradicts itself, ``reading`` names layers that give its figure.
    """

    table: str
    dataset: str
    scope: str
    gmacs: float
    layers: str
    doubt: str = ""
    reading: str = ""

    @property
    def dims(self) -> MeterDims:
        """Sizes of the model of the row."""
        size = IMAGE_SIZE[self.dataset]
        return MeterDims(image_size=size, text_length=TEXT_LENGTH, parallel_width=PARALLEL_WIDTH)


ROWS = tuple(
    Row(
        *(part.table[-1].upper(), part.dataset, (printed.scope or "-").capitalize(), printed.gmacs, printed.layers),
        doubt=printed.doubt,
        reading=printed.reading,
    )
    for part in read_parts()
    if part.family == "meter"
    for printed in part.rows
)


@dataclass(frozen=True)
class EncoderRow:
    """One row of a model with a single encoder; ``parallel`` adapters sit beside each kept layer."""

    table: str
    family: str
    dataset: str
    gmacs: float
    layers: str = ""
    parallel: int = 1
    parallel_width: int = 32
    skip_width: int = 32
    tokens: int = 512
    image_size: tuple[int, int] | None = None
    text_length: int = 512


ENCODERS = {"vilt": (2, 241), "roberta": (1, 512)}
"""Adapters beside a layer, and tokens that the printed rows follow from: ViLT's are 40, 200 patches and their token."""


def encoder_row(part: PrintedPart, printed: PrintedRow, parallel_width: int, skip_width: int) -> EncoderRow:
    """A printed row with these widths."""
    parallel, tokens = ENCODERS[part.family]
    return EncoderRow(
        *(part.table[-1].upper(), part.family, part.dataset, printed.gmacs, printed.layers),
        *(parallel, parallel_width, skip_width, tokens, part.image_size, part.text_length),
    )


ENCODER_ROWS = tuple(
    encoder_row(part, printed, part.parallel_width, part.skip_width)
    for part in read_parts()
    if part.skip_width
    for printed in part.rows
    if printed.method in (DAS, "adapter")
)
RELEASED = tuple(
    encoder_row(part, printed, parallel_width=96, skip_width=192)
    for part in read_parts()
    if part.family == "vilt" and part.task != "irtr"
    for printed in part.rows
)


def encoder_by_formula(row: EncoderRow) -> float:
    """Additional GMACs by formula; both families have 12 layers, width 768 and feed-forward 3072."""
    skip = dict.fromkeys(row.layers.split(), row.skip_width)
    plain = count_encoder(12, row.tokens, 768, 3072)
    return (count_encoder(12, row.tokens, 768, 3072, (row.parallel, row.parallel_width), skip) - plain) / 1e9


def encoder_by_trace(row: EncoderRow) -> float:
    """The same from the traced graph, as ``das flops --check`` prints it."""
    counted = count_published(
        row.family,
        image_size=row.image_size,
        text_length=row.text_length,
        skip_layers=row.layers.split(),
        parallel_adapters=True,
        parallel_width=row.parallel_width,
        skip_width=row.skip_width,
        check=True,
    )
    return counted.additional_macs / 1e9


def encoder_compared(row: EncoderRow) -> list[str]:
    traced, formula = encoder_by_trace(row), encoder_by_formula(row)
    verdict = "agrees" if abs(formula - row.gmacs) <= TOLERANCE else "differs"
    sizes = f"{row.parallel} x {row.parallel_width}, skip {row.skip_width}"
    cells = [row.table, row.family, row.dataset, row.layers or "none", sizes, str(row.tokens), f"{row.gmacs:+.2f}"]
    return [*cells, f"{traced:+.3f}", f"{formula:+.3f}", f"{formula - row.gmacs:+.3f}", verdict]


UPDATED_HEADER = ["Model", "Paper", "Adapters' projections", "their LayerNorms", "poolers", "head", "all"]


def updated(family: str, layers: str, paper: str) -> list[str]:
    """What ``--adapt`` trains of a published model without ``layers``, in millions by part."""
    kind = FAMILIES[family]
    plain = kind.dims_type()
    dims = plain.model_copy(update={"parallel_width": round(plain.hidden * kind.parallel_fraction)})
    with torch.device("meta"):
        full = kind.build(dims, next(iter(kind.heads)))
        slim = remove_layers(full, make_plan(full, layers.split())) if layers else full
        counts = count_updated_parameters(slim, recovery_groups(slim, Recovery(1, 1, 1e-3, 0, transfer=True)))
    projections = counts.pop(SKIP_ADAPTERS, 0) + counts.pop(PARALLEL_ADAPTERS, 0)
    parts = [projections, *(counts.pop(part, 0) for part in (ADAPTER_NORMS, "poolers", "head"))]
    assert not counts
    cells = [f"{part / 1e6:.2f} M" for part in (*parts, sum(parts))]
    return [f"{family}, without {layers or 'none'}", paper, *cells]


def updated_table() -> str:
    rows = [
        updated("meter", "", "5.34 M (Adapter)"),
        updated("meter", "FL2 FL3 FV0 FV5", "5.34 M (DAS4-Fusion)"),
        updated("vilt", "", "3.56 M (Adapter)"),
        updated("roberta", "En10", "0.63 M (DAS1)"),
        updated("roberta", "En7 En8 En10", "0.63 M (DAS3)"),
    ]
    return format_markdown_table(UPDATED_HEADER, rows)


def by_formula(row: Row, layers: str) -> float | None:
    """Additional GMACs of a METER of the row's sizes without ``layers``; None when it has no such layer."""
    names = layers.split()
    if not {step.name for step in steps_of(meter_rounds(row.dims))}.issuperset(names):
        return None
    return (
        count_additional(METER, row.dims, "vqa", {name: SKIP_WIDTH[name.rstrip("0123456789")] for name in names}) / 1e9
    )


def by_trace(row: Row) -> float:
    """The same from the traced graph, as ``das flops --check`` prints it."""
    size = IMAGE_SIZE[row.dataset]
    counted = count_published(
        "meter",
        image_size=size,
        text_length=TEXT_LENGTH,
        skip_layers=row.layers.split(),
        parallel_adapters=True,
        check=True,
    )
    return counted.additional_macs / 1e9


def agrees(row: Row, ours: float | None) -> bool:
    return ours is not None and abs(ours - row.gmacs) <= TOLERANCE


def compared(row: Row) -> list[str]:
    formula = by_formula(row, row.layers)
    difference = "" if formula is None else f"{formula - row.gmacs:+.3f}"
    verdict = "agrees" if agrees(row, formula) else "DIFFERS"
    if row.doubt:
        verdict = f"inconsistent in the paper: {row.doubt} it is {by_formula(row, row.reading):+.3f}"
    ours = ["no such layer"] * 2 if formula is None else [f"{by_trace(row):+.3f}", f"{formula:+.3f}"]
    return [row.table, row.dataset, row.scope, row.layers or "none", f"{row.gmacs:+.2f}", *ours, difference, verdict]


def totals(size: int) -> list[list[str]]:
    counted = count_published("meter", image_size=size, text_length=TEXT_LENGTH, check=True)
    formula = count_by_part(METER, MeterDims(image_size=size, text_length=TEXT_LENGTH), "vqa")
    parts = [
        [part, f"{macs / 1e9:.3f}", f"{formula[part] / 1e9:.3f}"] for part, macs in counted.by_pool.items() if macs
    ]
    return [*parts, ["total", f"{counted.macs / 1e9:.3f}", f"{sum(formula.values()) / 1e9:.3f}"]]


ENCODER_HEADER = [
    *("Table", "Family", "Data", "Skipped layers", "Adapters", "Tokens", "Paper", "Traced", "Formula", "Difference"),
    "Verdict",
]


def body() -> str:
    consistent = [row for row in ROWS if not row.doubt]
    good = sum(agrees(row, by_formula(row, row.layers)) for row in consistent)
    header = ["Table", "Data", "Scope", "Skipped layers", "Paper", "Traced", "Formula", "Difference", "Verdict"]
    return f"""\
### METER

The paper's "Additional FLOPs" are {HEADER}, in G, against the plain full model, for one image and 40 text
tokens; images have 384 pixels, NLVR2's 288 and one of the pair is counted. Kept fusion layers carry three parallel
adapters of width 96; a skip adapter has width 288 in fusion and 192 in the language encoder. "Traced" is what
`das flops meter --text-length 40 --image-size ... --skip-layers ... --parallel-adapters --check` prints (fvcore on
the model itself, attention added); "Formula" is what it prints at once.

**{good} of {len(consistent)} consistent rows agree within {TOLERANCE} G.** The other {len(ROWS) - len(consistent)} \
rows contradict themselves in the paper; the last column says how.

{format_markdown_table(header, [compared(row) for row in ROWS])}

### ViLT and RoBERTa

ViLT's rows follow from 241 tokens (40 of text, the image's class token, 200 patches: an image of 320 x 640), two
parallel adapters of width 80 in each kept layer and a skip adapter of width 256; RoBERTa's from 512 tokens and one
adapter of width 32 beside each kept layer or in place of a skipped one. The paper does not say so: these are the sizes
that fit. "Traced" is `das flops vilt --image-size 320x640 --text-length 40 --parallel-adapters --parallel-width 80
--skip-width 256 --skip-layers ... --check` and `das flops roberta --text-length 512 --parallel-adapters
--skip-layers ... --check`.

{format_markdown_table(ENCODER_HEADER, [encoder_compared(row) for row in ENCODER_ROWS])}

With the adapter widths of the released ViLT code, 96 and 192, the same rows come out elsewhere; no single number of
tokens makes all of them fit:

{format_markdown_table(ENCODER_HEADER, [encoder_compared(row) for row in RELEASED])}

RoBERTa's skip adapters have a LayerNorm here; without it the three figures are 0.002 G lower for each skipped layer
and round to the paper's.

### Updated parameters

What `--adapt` trains. The paper's 5.34 M for METER is the adapters' projections with their biases and without their
LayerNorms, poolers and head: that is the count `das` calls "as the paper counts them" (with four layers skipped it is
5.33 M; a skip adapter has 0.4 % fewer parameters than the three parallel ones it stands for). Table C's 0.63 M is not
reached by this count (0.60 M) nor with LayerNorms (0.62 M); two adapters of width 16 with one LayerNorm beside
a layer would be 0.63 M, as in the table's row of adapters ("Table C's baselines from sizes alone").

{updated_table()}

### Totals

The full model by part, G{HEADER} at 384 pixels:

{format_markdown_table(["Part", "Traced", "Formula"], totals(384))}

At 288 pixels:

{format_markdown_table(["Part", "Traced", "Formula"], totals(288))}

Not counted, here and in the paper: softmax, activations, additions, biases, embedding lookups. The prologue holds the
patch embedding, the bridges the projections to the fusion width, the head both poolers and the classifier.
"""


if __name__ == "__main__":
    write_section("flops-tables", "The paper's FLOPs, row by row", body())

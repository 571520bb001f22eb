"""The baselines of the paper's Table C from sizes alone, and a search for the sizes that give its printed figures.

python -m benchmarks.paper.tuning_tables
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.results import write_section
from compressor.tuning.methods import METHODS, Method
from profiles.formatting import HEADER, format_markdown_table
from profiles.macs.formula import count_adapter
from profiles.macs.tuning_costs import TuningCosts, count_tuning
from profiles.paper.printed import parts_of

WIDTH, LAYERS, TOKENS = 768, 12, 512
PRINTED = {row.method: (row.updated, row.gmacs) for row in parts_of("table-c")[0].rows if row.method in METHODS}
HEADER_ROW = ["Method", "Sizes", "Updated, paper", "by sizes", "Additional, paper", "by sizes", "Verdict"]


def sized(name: str, **sizes: int) -> Method:
    """The method with other sizes at width 768."""
    return replace(METHODS[name], **{part: size / WIDTH for part, size in sizes.items()})


def one_adapter(bottleneck: int) -> TuningCosts:
    """An adapter with a LayerNorm in each layer."""
    parameters = 2 * WIDTH * bottleneck + bottleneck + 3 * WIDTH
    return TuningCosts(LAYERS * parameters, LAYERS * count_adapter(TOKENS, WIDTH, bottleneck))


def row(name: str, sizes: str, costs: TuningCosts) -> list[str]:
    updated, additional = PRINTED[name]
    found = costs.updated_parameters / 1e6, costs.additional_macs / 1e9
    same = round(found[0], 2) == updated, round(found[1], 2) == additional
    differs = "parameters agree when cut" if int(100 * found[0]) / 100 == updated else "differs"
    verdict = {(True, True): "agrees", (False, True): "MACs agree", (False, False): differs}
    cells = [METHODS[name].title, sizes, f"{updated:.2f} M", f"{found[0]:.3f} M", f"{additional:.2f} G"]
    return [*cells, f"{found[1]:.3f} G", verdict[same]]


def rows() -> list[list[str]]:
    def own(name: str, sizes: str, method: Method | None = None) -> list[str]:
        return row(name, sizes, count_tuning("roberta", method or name, text_length=TOKENS))

    return [
        own("full", "all weights but the last projection"),
        own("bitfit", "all biases of the trunk"),
        own("prefix", "8 tokens"),
        own("prefix", "127 tokens", sized("prefix", prefix=127)),
        own("lora", "rank 16 at queries and values"),
        own("adapter", "two of width 16, a LayerNorm"),
        row("adapter", "one of width 32, a LayerNorm", one_adapter(32)),
        own("mam", "16 tokens, width 16"),
        own("mam", "42 tokens, width 42", sized("mam", prefix=42, parallel=42)),
    ]


@dataclass(frozen=True)
class Tried:
    """Sizes of a layer: a prefix and adapters, and what they come to in all layers."""

    told: str
    parameters: int
    macs: int

    def gives(self, name: str, cut: bool = False) -> bool:
        """Whether both figures of the row come out, rounded or cut to two digits."""
        figures = self.parameters / 1e6, self.macs / 1e9
        shown = (int(100 * x) / 100 for x in figures) if cut else (round(x, 2) for x in figures)
        return tuple(shown) == PRINTED[name]


def prefixes(lengths: Iterable[int]) -> Iterator[Tried]:
    """Keys and values of tokens; tokens that the frozen projections read; and keys and values that an MLP makes."""
    for tokens in lengths:
        seen = 2 * tokens * TOKENS * WIDTH
        yield Tried(f"{tokens} keys and values", LAYERS * 2 * tokens * WIDTH, LAYERS * seen)
        projected = 2 * tokens * WIDTH**2
        yield Tried(f"{tokens} tokens", LAYERS * tokens * WIDTH, LAYERS * (projected + seen))
        for inner in (128, 256, 512, 768, 800, 1024):
            wide = LAYERS * 2 * WIDTH
            made, weights = tokens * inner * (WIDTH + wide), inner * (WIDTH + wide + 1) + wide
            yield Tried(f"{tokens} by an MLP of {inner}", tokens * WIDTH + weights, LAYERS * seen + made)


def adapters(widths: Iterable[int]) -> Iterator[Tried]:
    """One to three adapters in a layer, with biases or not, with so many LayerNorms."""
    for width, count, biases, norms in product(widths, (1, 2, 3), (True, False), (0, 1, 2, 3)):
        parameters = count * (2 * WIDTH * width + (width + WIDTH) * biases) + norms * 2 * WIDTH
        macs = count * 2 * TOKENS * WIDTH * width + norms * 5 * TOKENS * WIDTH
        told = f"{count} x width {width}, LayerNorms: {norms}, {'with' if biases else 'without'} biases"
        yield Tried(told, LAYERS * parameters, LAYERS * macs)


def pairs() -> Iterator[Tried]:
    beside = list(adapters((4, 8, 12, 16, 20, 24, 30, 32, 48, 64)))
    for prefix, adapter in product(prefixes(range(1, 129)), beside):
        told = f"{prefix.told}, {adapter.told}"
        yield Tried(told, prefix.parameters + adapter.parameters, prefix.macs + adapter.macs)


def found(name: str, tried: Iterable[Tried]) -> str:
    entries = list(tried)
    rounded = [entry.told for entry in entries if entry.gives(name)]
    cut = sum(entry.gives(name, cut=True) for entry in entries)
    what = "; ".join(rounded) or "none"
    return f"- {METHODS[name].title}, {len(entries):,} combinations: {what}. Cut in place of rounded: {cut or 'none'}."


def body() -> str:
    searched = [
        found("prefix", prefixes(range(1, 257))),
        found("adapter", adapters(range(1, 65))),
        found("mam", pairs()),
    ]
    return f"""\
RoBERTa-base at 512 tokens: what each method trains, without the classifier, and {HEADER} on top of the plain model.
"By sizes" is `count_tuning("roberta", method, text_length=512)`; the sizes are those of `das tune` where a method's
first row names them.

{format_markdown_table(HEADER_ROW, rows())}

The paper names no sizes. What was tried, and which combinations give both figures of a row:

{chr(10).join(searched)}

So two rows contradict themselves. A prefix of l tokens has 18,432 l parameters and adds 9.44 l M MACs: 0.14 M would be
7.6 tokens, and 1.20 G are 127. `das tune --method prefix` takes 8. In MAM both a token of the prefix and a unit of the
adapter's width are 18,432 parameters and 9.44 M MACs: 0.61 M are 33 of them, 0.79 G are 84. `das tune --method mam`
takes the 16 and 16 of He et al.'s code, to which the paper refers: 0.60 M. They are 0.61 M with a LayerNorm and without
biases. The adapters that give both figures of their row are two of width 16 in each layer, behind the attention and
behind the feed-forward part as Houlsby et al. have them, one with a LayerNorm.
"""


if __name__ == "__main__":
    write_section("tuning-costs", "Table C's baselines from sizes alone", body())

"""The methods of the paper's Table C, as data: what each puts where, what it trains, and at what rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressor.errors import usage_error
from compressor.training.optimiser import FULL_LEARNING_RATE, PAPER_HIDDEN

Trunk = Literal["all", "biases", "none"]
"""What a method trains of the weights that the checkpoint has, poolers and head apart."""


@dataclass(frozen=True)
class Method:
    """A way to adapt a pre-trained model. Poolers and head are trained, too, whatever the method.

    Sizes are shares of the width of a layer's stream, 0 where a method has nothing of the kind: at another width the
    methods compare as they do in the table. At width 768 they are whole numbers.

    Attributes:
        name: as users type it.
        title: as papers call it.
        source: who proposed it.
        trunk: what it trains of the checkpoint's own weights.
        prefix: tokens in front of the keys and values of each attention.
        rank: of LoRA at the query and value projections of each attention; its scale is 2.
        sequential: bottleneck of the adapters behind each attention and behind the feed-forward part, inside the
            residual. That of the feed-forward part begins with a LayerNorm.
        parallel: bottleneck of the adapter beside the feed-forward part; its scale is 2.
        learning_rate: peak at width 768, as ``recipe`` has it.
        epochs: passes over the data.
        recipe: where rate and epochs come from.
    """

    name: str
    title: str
    source: str
    learning_rate: float
    recipe: str
    trunk: Trunk = "none"
    prefix: float = 0
    rank: float = 0
    sequential: float = 0
    parallel: float = 0
    epochs: float = 10

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """Prefix, rank, sequential and parallel bottleneck."""
        return self.prefix, self.rank, self.sequential, self.parallel

    @property
    def adds(self) -> bool:
        """True where the method puts anything into layers."""
        return any(self.shares)

    def size(self, share: float, width: int) -> int:
        """Return a size at a stream of ``width``: at least 1, and 0 where the method has nothing of the kind."""
        return max(1, round(share * width)) if share else 0


_HE = "He et al., ICLR 2022"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "full",
            "full tuning",
            "Devlin et al., NAACL 2019",
            trunk="all",
            learning_rate=FULL_LEARNING_RATE,
            recipe="the middle of Devlin et al.'s 2e-5 to 5e-5",
        ),
        Method(
            "bitfit",
            "BitFit",
            "Ben Zaken et al., ACL 2022",
            trunk="biases",
            learning_rate=1e-3,
            recipe="the upper end of Ben Zaken et al.'s 1e-4 to 1e-3",
        ),
        Method(
            "prefix",
            "prefix tuning",
            "Li and Liang, ACL 2021",
            prefix=8 / PAPER_HIDDEN,
            learning_rate=3e-3,
            recipe="the most das trains at; Liu et al., ACL 2022, have 5e-3 and more for prefixes without an MLP",
        ),
        Method(
            "lora",
            "LoRA",
            "Hu et al., ICLR 2022",
            rank=16 / PAPER_HIDDEN,
            learning_rate=5e-4,
            recipe="Hu et al.'s for RoBERTa-base on MNLI and SST-2",
        ),
        Method(
            "adapter",
            "adapter",
            "Houlsby et al., ICML 2019",
            sequential=16 / PAPER_HIDDEN,
            learning_rate=1e-4,
            recipe=f"{_HE}, for RoBERTa-base on MNLI and SST-2",
        ),
        Method(
            "mam",
            "MAM",
            _HE,
            prefix=16 / PAPER_HIDDEN,
            parallel=16 / PAPER_HIDDEN,
            learning_rate=1e-4,
            recipe=f"{_HE}, for RoBERTa-base on MNLI and SST-2",
        ),
    )
}


def find_method(name: str) -> Method:
    """Return the method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in METHODS:
        raise usage_error("unknown-method", f"--method {name}", f"one of {', '.join(METHODS)}", "--method lora")
    return METHODS[name]

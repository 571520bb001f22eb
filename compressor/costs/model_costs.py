"""Costs of the full and the slim model, side by side: MACs, parameters, bytes; read and written without PyTorch."""

from __future__ import annotations

from pydantic import computed_field

from compressor.values import Value


class Pair(Value):
    """A quantity of the full and of the slim model; ``difference`` is slim less full."""

    full: int
    slim: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> int:
        """Slim minus full: negative where the slim model needs less."""
        return self.slim - self.full


class Trims(Value):
    """MACs of the slim model without and with its exact trims, which leave out what no logit depends on.

    ``full_after`` are those of the full model with the same trims; None in files of versions that did not count them.
    ``unmerged`` are those ``before`` trims if no tokens were merged; None where none are.
    """

    before: int
    after: int
    full_after: int | None = None
    unmerged: int | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def saved(self) -> int:
        """Savings of the trims, apart from those of the skipped layers."""
        return self.before - self.after

    @property
    def merging(self) -> int:
        """Savings of merged tokens, apart from those of layers and trims."""
        return 0 if self.unmerged is None else self.unmerged - self.before


class MacsShare(Value):
    """The MACs of a slim model as shares of the full one's: what is ``left``, and what exact ``trims`` save of it.

    ``merging`` is what merged tokens save. Every report says it in the words of ``str``.
    """

    left: float
    trims: float
    merging: float = 0.0

    @property
    def layers(self) -> float:
        """Return the share that the skipped layers save, their adapters counted in."""
        return 1 - self.left - self.trims - self.merging

    def __str__(self) -> str:
        """Return what is left, and what layers, merged tokens and trims save apart."""
        saved = {"layers": self.layers, "merged tokens": self.merging, "exact trims": self.trims}
        told = (
            f"{name} {0.0 - round(100 * share, 1):+.1f} %"  # 0.0 less something: no -0.0
            for name, share in saved.items()
            if share or name != "merged tokens"
        )
        return f"{100 * self.left:.1f} % of full: {', '.join(told)}"


def share_macs(macs: Pair, trims: Trims) -> MacsShare:
    """Return the MACs of a slim model, which is with its trims, as shares of the full one's."""
    return MacsShare(left=macs.slim / macs.full, trims=trims.saved / macs.full, merging=trims.merging / macs.full)


class ModelCosts(Value):
    """MACs of one sample (1 MAC = 2 FLOPs), parameters, and bytes of the float32 weights; slim is with its trims."""

    macs: Pair
    macs_by_pool: dict[str, Pair]
    macs_by_layer: dict[str, Pair]
    trims: Trims
    parameters: Pair
    parameters_by_pool: dict[str, Pair]
    weight_bytes: Pair
    uncounted: tuple[str, ...]

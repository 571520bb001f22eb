"""The settings of a tuning, and what of them is checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import ConfigDict

from compressor.errors import Checks, usage_error
from compressor.settings import Settings
from compressor.tuning.lora import check_peft
from compressor.tuning.methods import find_method
from compressor.values import Value


class TuneSettings(Value):
    """Options of a tuning.

    Attributes:
        checkpoint: a pre-trained checkpoint.
        method: a key of ``compressor.tuning.methods.METHODS``.
        epochs: passes over the training data; None is the method's.
        learning_rate: peak of what the method trains; None is the method's, scaled to width and steps. Poolers and head
            have the rate that they have with ``das compress --adapt``.

    The others are those of a compression (:class:`compressor.settings.Settings`).
    """

    model_config = ConfigDict(extra="forbid")

    checkpoint: str
    method: str
    task: str | None = None
    data: str | None = None
    columns: Mapping[str, str] = {}
    tokenizer: str | None = None
    image_size: int | None = None
    text_length: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    learning_rate: float | None = None
    seed: int = 0
    device: str | None = None
    out: str | None = None

    @property
    def adaptation(self) -> Settings:
        """The compression of the same checkpoint on the same data that adapts it and skips nothing."""
        return Settings(**self.model_dump(exclude={"method", "epochs"}), adapt=True, skip=0)

    def check(self) -> None:
        """Refuse what can be told to be wrong from the settings alone.

        Raises:
            UsageError: an unknown method, or no passes over the data.
            EnvironmentProblem: the method needs peft, which is not there.
        """
        checks = Checks()
        with checks:
            if find_method(self.method).rank:
                check_peft()
        with checks:
            if self.epochs is not None and not 0 < self.epochs < math.inf:
                expected = "a positive number of passes over the data"
                raise usage_error("epochs-not-positive", f"--epochs {self.epochs:g}", expected, "--epochs 10")
        checks.raise_found()

"""LoRA by peft: low-rank products beside projections, merged into them when they are trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from compressor.errors import environment_problem
from compressor.tuning.bottleneck import SCALE


def check_peft() -> None:
    """Hold that peft is there.

    Raises:
        EnvironmentProblem: it is not.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise environment_problem(
            "peft-missing", f"peft cannot be imported ({error})", "peft, for LoRA", "pip install 'das-toolkit[paper]'"
        ) from None


def peft_version(used: bool) -> dict[str, str]:
    """Return peft's version by its name; nothing where it was not ``used``."""
    from importlib.metadata import version

    return {"peft": version("peft")} if used else {}


def add_lora(model: nn.Module, names: Sequence[str], rank: int) -> None:
    """Put LoRA of this rank beside the projections of these names, in place; it starts at zero.

    Raises:
        EnvironmentProblem: peft is not there.
    """
    check_peft()
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=list(names))
    inject_adapter_in_model(config, model)


def merge_lora(model: nn.Module) -> None:
    """Add every LoRA to the weights of its projection, and leave the plain projection in its place."""
    if not any("lora_A" in name for name, _ in model.named_modules()):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())

"""Make the classes with adapters known to transformers."""

from __future__ import annotations

from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import AutoConfig

from compressor.families import FAMILIES
from compressor.families.key_mapping import Format
from compressor.hub import modeling_das
from compressor.hub.slim_config import auto_class


def register_classes() -> None:
    """Register the class with adapters of every class that das writes."""
    for family in FAMILIES.values():
        for format in family.formats:
            for task in family.heads if format.library else ():
                if architecture := format.architecture(task):
                    _register(format, architecture)


def _register(format: Format, architecture: str) -> None:
    model = getattr(modeling_das, modeling_das.PREFIX + architecture)
    AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
    model.config_class.register_for_auto_class()
    name = auto_class(str(format.model_type), architecture)
    model.register_for_auto_class(name)
    getattr(modeling_auto, name).register(model.config_class, model, exist_ok=True)

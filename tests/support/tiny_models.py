"""A tiny model of every family with every task, drawn wide enough for each layer to matter, and inputs with padding."""

import torch

from compressor.families import FAMILIES
from compressor.models.steps import steps_of
from compressor.models.supernet import Supernet
from das.demo.models import DEMOS, Sizes

EVERY = tuple(DEMOS)
CLASSES, LENGTH, CAPTIONS = 5, 9, 3


def of_few_layers(dims):
    """The same sizes with a layer of each kind, or two where all are of one kind."""
    kinds = [name for name in type(dims).model_fields if name.endswith("layers")]
    if not kinds:
        return dims.model_copy(update={"config": {**dims.config, "num_hidden_layers": 2}})
    return dims.model_copy(update=dict.fromkeys(kinds, 1 if len(kinds) > 1 else 2))


def model(family, task, seed=0, shallow=False):
    """A random model of the demo's sizes; a shallow one has a layer or two of each kind, for what traces it."""
    images = FAMILIES[family].heads[task].images
    classes = FAMILIES[family].heads[task].classes or CLASSES
    dims = DEMOS[family, task].dims(Sizes(vocabulary=40, text_length=LENGTH, classes=classes, images=images))
    if shallow:
        dims = of_few_layers(dims)
    torch.manual_seed(seed)
    built = FAMILIES[family].build(dims, task).eval()
    for parameter in built.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return built


def batch(model, samples=3, seed=1):
    """Samples of the model's task: the last text is shorter, and of ViLT's images the last is narrower."""
    dims, generator = model.dims, torch.Generator().manual_seed(seed)
    ranked = model.task == "irtr"
    texts = samples * (CAPTIONS if ranked else 1)
    mask = torch.ones(texts, LENGTH, dtype=torch.long)
    mask[-1, LENGTH // 2 :] = 0
    ids = torch.randint(5, 40, (texts, LENGTH), generator=generator)
    family, known = FAMILIES[model.family], {"input_ids": torch.where(mask.bool(), ids, 1), "attention_mask": mask}

    def images(entry):
        side = dims.image_size
        sizes = {"batch": samples, "images": dims.images, "channels": 3, "height": side, "width": side}
        shape = [sizes[axis] for axis in entry.axes_of(len(entry.axes) if dims.images > 1 else 0)]
        if not entry.mask:
            return torch.randn(shape, generator=generator)
        mask = torch.ones(shape, dtype=entry.dtype)
        mask[-1, ..., side // 2 :] = 0
        return mask

    given = {
        entry.name: images(entry) if entry.modality == "image" else known.get(entry.name, torch.zeros_like(ids))
        for entry in family.inputs
    }
    classes = CAPTIONS if ranked else dims.classes
    given["targets"] = torch.eye(classes)[torch.randint(classes, (samples,), generator=generator)]
    return given


def supernet(model, candidates=None, seed=2):
    """The model with adapters that do something; candidates default to the family's first scope."""
    pools = next(iter(FAMILIES[model.family].scopes.values()))
    names = candidates or [step.name for step in steps_of(model.rounds) if step.pool in pools]
    made = Supernet(model, FAMILIES[model.family].layer_order(tuple(names)))
    torch.manual_seed(seed)
    for adapter in model.skips.values():
        torch.nn.init.normal_(adapter.up_proj.weight, std=0.3)
        torch.nn.init.normal_(adapter.down_proj.weight, std=0.3)
    return made

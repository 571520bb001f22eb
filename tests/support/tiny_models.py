"""A tiny model of every family with every task, drawn wide enough for each layer to matter, and inputs with padding."""

from functools import partial

import torch

from compressor.architectures.meter import RESERVED, MeterDims
from compressor.architectures.vilt import ViltDims
from compressor.families import FAMILIES
from compressor.families.text_encoder.albert import AlbertDims
from compressor.families.text_encoder.bert_families import (
    BertDims,
    CamembertDims,
    ElectraDims,
    RobertaDims,
    XlmRobertaDims,
)
from compressor.families.text_encoder.deberta import DebertaDims
from compressor.families.text_encoder.distilbert import DistilbertDims
from compressor.families.text_encoder.modernbert import ModernbertDims
from compressor.families.text_encoder.mpnet import MpnetDims
from compressor.models.steps import steps_of
from compressor.models.supernet import Supernet

CLASSES, LENGTH, CAPTIONS, VOCABULARY = 5, 9, 3, 40


def meter(images, classes, layers=1, fusion_layers=3, text_encoder="roberta"):
    """Sizes of a METER of 3 x 3 patches."""
    types = {"roberta": 1, "bert": 2}[text_encoder]
    return MeterDims(
        hidden=40, heads=4, fusion_layers=fusion_layers, fusion_ffn=80, text_encoder=text_encoder, text_types=types,
        text_vocabulary=VOCABULARY, text_positions=LENGTH + RESERVED[text_encoder], text_hidden=40, text_layers=layers,
        text_heads=4, text_ffn=80, vision_width=64, vision_layers=layers, vision_ffn=128, patch=12, image_size=36,
        images=images, image_types=images, classes=classes, text_length=LENGTH, dropout=0.0,
    )  # fmt: skip


def vilt(images, classes):
    """Sizes of a ViLT of 3 x 3 patches."""
    return ViltDims(
        hidden=48, heads=4, layers=6, ffn=96, position_grid=3, image_size=96, images=images, image_types=images,
        text_vocabulary=VOCABULARY, text_positions=LENGTH, text_length=LENGTH, classes=classes, dropout=0.0,
    )  # fmt: skip


def text_encoder(kind, model_type, types, reserved, pad, **own):
    """Sizes of a text encoder, which embeds ``reserved`` positions that no token has; ``own`` are its family's own."""
    config = {
        "model_type": model_type, "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 6,
        "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": LENGTH + reserved,
        "type_vocab_size": types, "pad_token_id": pad, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        **own,
    }  # fmt: skip
    return lambda images, classes: kind(config=config, classes=classes, text_length=LENGTH)


SIZES = {
    ("meter", "vqa"): partial(meter, layers=2, fusion_layers=6),
    **{("meter", task): meter for task in ("nlvr2", "irtr")},
    ("meter", "snli-ve"): partial(meter, text_encoder="bert"),
    **{("vilt", task): vilt for task in ("vqa", "nlvr2", "irtr", "snli-ve")},
    ("roberta", "text-classification"): text_encoder(RobertaDims, "roberta", types=1, reserved=2, pad=1),
    ("bert", "text-classification"): text_encoder(BertDims, "bert", types=2, reserved=0, pad=0),
}
EVERY = tuple(SIZES)
# Families that are built as those are; few tests need them, too.
DISTILBERT = {"dim": 48, "n_layers": 6, "n_heads": 4, "hidden_dim": 96, "dropout": 0.0, "attention_dropout": 0.0}
SIZES |= {
    ("xlm-roberta", "text-classification"): text_encoder(XlmRobertaDims, "xlm-roberta", types=1, reserved=2, pad=1),
    ("camembert", "text-classification"): text_encoder(CamembertDims, "camembert", types=1, reserved=2, pad=1),
    ("electra", "text-classification"): text_encoder(
        ElectraDims, "electra", types=2, reserved=0, pad=0, embedding_size=24
    ),
    ("distilbert", "text-classification"): text_encoder(
        DistilbertDims, "distilbert", types=1, reserved=0, pad=0, **DISTILBERT
    ),
    ("mpnet", "text-classification"): text_encoder(MpnetDims, "mpnet", types=1, reserved=2, pad=1),
    ("albert", "text-classification"): text_encoder(
        AlbertDims, "albert", types=2, reserved=0, pad=0, embedding_size=24
    ),
    ("deberta-v2", "text-classification"): text_encoder(
        DebertaDims,
        "deberta-v2",
        types=0,
        reserved=0,
        pad=0,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=4,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
    ),
    ("modernbert", "text-classification"): text_encoder(
        ModernbertDims, "modernbert", types=1, reserved=0, pad=0, local_attention=4
    ),
}
RELATIVES = tuple(kind for kind in SIZES if kind not in EVERY)


def of_few_layers(dims):
    """The same sizes with a layer of each kind, or two where all are of one kind."""
    kinds = [name for name in type(dims).model_fields if name.endswith("layers")]
    if not kinds:
        counted = {name: dims.config[name][:2] for name in ("layer_types",) if name in dims.config}
        return dims.model_copy(update={"config": {**dims.config, "num_hidden_layers": 2, **counted}})
    return dims.model_copy(update=dict.fromkeys(kinds, 1 if len(kinds) > 1 else 2))


def model(family, task, seed=0, shallow=False):
    """A random model; a shallow one has a layer or two of each kind, for what traces it."""
    images = FAMILIES[family].heads[task].images
    classes = FAMILIES[family].heads[task].classes or CLASSES
    dims = SIZES[family, task](images, classes)
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
    ids = torch.randint(5, VOCABULARY, (texts, LENGTH), generator=generator)
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

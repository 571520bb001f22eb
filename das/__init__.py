"""The face of das: the command line and the public Python API.

>>> import das
>>> model = das.load("meter.ckpt")
>>> slim = das.skip(model, ["FL1", "FV0"])
>>> run = das.compress("meter.ckpt", task="vqa", skip=8, data="data/")
>>> das.export(run, "onnx"); das.profile(run); das.flops("meter", skip_layers=["FV0"])
>>> das.compress_seeds([0, 1, 2], "meter.ckpt", task="vqa", skip=8)  # mean and spread
>>> das.save(das.compress("bert-sst2", skip=3), to="bert-sst2-slim")
>>> das.trim_vocabulary("xlm-r-reviews", texts=["reviews.txt"], to="xlm-r-reviews-small")
>>> tuned = das.tune("roberta-base", "lora", data="sst2"); tuned.score, tuned.load()
"""

from das.api import compress, export, flops, load, profile, save, skip, trim_vocabulary, tune
from das.seeds.compress_seeds import compress_seeds

__all__ = [
    "compress",
    "compress_seeds",
    "export",
    "flops",
    "load",
    "profile",
    "save",
    "skip",
    "trim_vocabulary",
    "tune",
]

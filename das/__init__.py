"""The face of das: the command line and the public Python API.

>>> import das
>>> model = das.load("meter.ckpt")
>>> slim = das.skip(model, ["FL1", "FV0"])
>>> run = das.compress("meter.ckpt", task="vqa", skip=8, data="data/")
>>> das.export(run, "onnx"); das.profile(run); das.flops("meter", skip_layers=["FV0"])
"""

from das.api import compress, export, flops, load, profile, skip

__all__ = ["compress", "export", "flops", "load", "profile", "skip"]

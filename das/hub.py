"""Slim models with adapters for transformers: ``from_pretrained`` and ``pipeline`` load what ``das save`` wrote.

>>> import das.hub
>>> from transformers import pipeline
>>> pipeline("text-classification", "bert-sst2-slim")

In place of ``trust_remote_code=True``: the code is that of das, not of the folder.
"""

from __future__ import annotations

from compressor.hub.register import register_classes

register_classes()

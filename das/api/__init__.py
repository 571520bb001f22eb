"""The Python API, and the only place that puts the parts together: the commands and the demo call these functions.

Everything heavy is imported by the function that needs it, so that ``import das`` and ``das --help`` are instant.
"""

from das.api.compress_model import compress, compress_and_report
from das.api.count_flops import flops
from das.api.export_model import ENGINE_BATCHES, UNNAMED, export
from das.api.load_model import load, open_run_at, skip
from das.api.profile_model import profile
from das.api.save_model import save
from das.api.trim_model import trim_vocabulary
from das.api.tune_model import tune

__all__ = [
    "ENGINE_BATCHES",
    "UNNAMED",
    "compress",
    "compress_and_report",
    "export",
    "flops",
    "load",
    "open_run_at",
    "profile",
    "save",
    "skip",
    "trim_vocabulary",
    "tune",
]

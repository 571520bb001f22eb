"""Entries of a search's log, made by hand or made comparable."""

from compressor.search.result import LogEntry

BLANK = LogEntry(
    proposal=0, trained=0, layers=(), divergence=0.0, loss=0.0, reward=1.0, value=1.0, samples=32, seconds=0.0
)


def log_entry(layers, **fields):
    """An entry of these layers; what is not given is blank."""
    return BLANK.model_copy(update={"layers": tuple(layers), **fields})


def without_seconds(log):
    """The same log without the time that everything took."""
    return [entry.model_copy(update={"seconds": 0}) for entry in log]

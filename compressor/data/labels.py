"""Class numbers of a data set, aligned with those of the model's head."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from compressor.data.types import RawDataset, Records, Sample
from compressor.errors import input_error
from compressor.tasks.task import Task


def align_labels(dataset: RawDataset, names: Sequence[str], task: Task, own_head: bool = True) -> RawDataset:
    """Return the same data with classes numbered as the model numbers them.

    Args:
        dataset: data whose own numbering may differ.
        names: the checkpoint's name of each class; empty, or ``<class 0>`` and so on, when it names none.
        task: an open vocabulary may have answers that the model does not know; they are dropped, and counted.
        own_head: the head is the checkpoint's; a new one takes the data's numbers.

    Raises:
        InputError: classes that the model has no name for, or that have names where the model has numbers only.
    """
    if not own_head or tuple(names) == dataset.labels:
        return dataset
    if all(name.startswith("<class ") for name in names):
        return _check_numbering(dataset, task)
    if all(re.fullmatch(r"\d+|<class \d+>", name) for name in dataset.labels):
        return dataset
    by_lower_case = {name.lower(): i for i, name in reversed(tuple(enumerate(names)))}
    by_name = by_lower_case | {name: i for i, name in reversed(tuple(enumerate(names)))}
    numbers = {old: by_name.get(name, by_lower_case.get(name.lower())) for old, name in enumerate(dataset.labels)}
    places = {old: new for old, new in numbers.items() if new is not None}
    named = {old for old, name in enumerate(dataset.labels) if not name.startswith("<class ")}
    if not places and dataset.numbers_in_files and len(names) == len(dataset.labels):
        return replace(dataset, labels=tuple(names))
    if not places or (not task.open_vocabulary and named - places.keys()):
        unknown = [dataset.labels[old] for old in sorted(named - places.keys())]
        raise input_error(
            "classes-named-otherwise",
            f"the model names its classes {_shorten(names)}; the data has {_shorten(unknown)}",
            "the model's name for each class of the data",
            "rename the classes in the data, or give the data this checkpoint was trained on: --data",
        )
    splits = {name: _renumber(records, places) for name, records in dataset.splits.items()}
    return replace(dataset, splits=splits, labels=tuple(names))


def _check_numbering(dataset: RawDataset, task: Task) -> RawDataset:
    """Return the data as it is.

    Raises:
        InputError: its class numbers mean nothing outside its folder.
    """
    if dataset.numbered_here:
        raise input_error(
            "classes-not-numbered",
            f"the checkpoint does not say what its classes are called, and the data ({dataset.layout}) does not say "
            f"how {_shorten(dataset.labels)} are numbered",
            "names in the checkpoint (id2label in config.json), or numbers in the data"
            + (", or answers.txt beside it: an answer in each line, in the order of the head" * task.open_vocabulary),
            "add one of them (see docs/data.md)",
        )
    return dataset


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _renumber(records: Records, places: Mapping[int, int]) -> Records:
    """Return the records with new class numbers; those left without any are dropped, and counted."""
    moved = [(sample, _renumber_sample(sample, places)) for sample in records.samples]
    samples = tuple(after for before, after in moved if after.labels or not before.labels)
    return replace(records, samples=samples, dropped=records.dropped + len(moved) - len(samples))


def _renumber_sample(sample: Sample, places: Mapping[int, int]) -> Sample:
    pairs = zip(sample.labels, sample.scores, strict=True)
    mapped = [(places[label], score) for label, score in pairs if label in places]
    return replace(sample, labels=tuple(label for label, _ in mapped), scores=tuple(score for _, score in mapped))

"""Class numbers of a data set, aligned with those of the model's head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from compressor.data.reading.class_labels import class_finder, class_number, is_nameless
from compressor.data.types import RawDataset, Records, Sample
from compressor.errors import DasError, input_error, shorten
from compressor.tasks.task import Task

OF_CLASS_0 = {"f1": "f1 of class 0"}  # metrics of the data's class 1, where the model numbers that 0


def align_labels(dataset: RawDataset, names: Sequence[str], task: Task, own_head: bool = True) -> RawDataset:
    """Return the same data with classes numbered, and named, as the model numbers and names them.

    Names decide before numbers: a model that calls its first class "1" gets the data's ones as class 0. Where the
    model knows none of the data's names, the data's numbers, if it has any, are those of the classes.

    Args:
        dataset: data whose own numbering may differ.
        names: the checkpoint's name of each class; empty, or ``<class 0>`` and so on, when it names none.
        task: an open vocabulary may have answers that the model does not know; they are dropped, and counted. Where
            the full model teaches there are no classes.
        own_head: the head is the checkpoint's; a new one takes the data's numbers. Of a score the data has no classes.

    Raises:
        InputError: classes that the model has no name for, or that have names where the model has numbers only.
    """
    if task.taught or not own_head or tuple(names) == dataset.labels:
        return dataset
    if task.output == "score":
        return replace(dataset, labels=tuple(names) or dataset.labels)
    if all(map(is_nameless, names)):
        return _check_numbering(dataset, task)
    choose = _known_answers if task.open_vocabulary else _known_classes
    places = choose(dataset, tuple(names), _used(dataset))
    renumber = _renumber_tags if task.output == "tags" else _renumber
    splits = {name: renumber(records, places) for name, records in dataset.splits.items()}
    if task.output == "tags":
        splits = {name: replace(records, names=tuple(names)) for name, records in splits.items()}
    metrics = tuple(OF_CLASS_0.get(name, name) if places.get(1) == 0 else name for name in dataset.metrics)
    written = () if task.open_vocabulary else _written_as(dataset, tuple(names), places)
    return replace(dataset, splits=splits, labels=tuple(names), metrics=metrics, written=written)


def check_new_head(dataset: RawDataset, task: Task) -> None:
    """Refuse samples of a single class where a new head is to tell classes apart: any answer would be right.

    Raises:
        InputError: all have the same.
    """
    used = _used(dataset)
    if task.excludes and len(used) == 1:
        raise input_error(
            "one-class",
            f"all {task.samples} of the data are of one class, {dataset.labels[used[0]]}: a new head learns nothing",
            "two classes at least",
            "--data FOLDER with others, too",
        )


def _written_as(dataset: RawDataset, names: tuple[str, ...], places: Mapping[int, int]) -> tuple[str, ...]:
    """Return what the data writes for each of the model's classes; the model's name for one that the data lacks."""
    written = {places[old]: (dataset.written or dataset.labels)[old] for old in places}
    return tuple(written.get(new, name) for new, name in enumerate(names))


def _used(dataset: RawDataset) -> list[int]:
    """Return the classes that occur in what was read; all of them where none of its samples has an answer."""
    samples = [sample for records in dataset.splits.values() for sample in records.samples]
    used = sorted({label for sample in samples for label in sample.labels})
    return used or [*range(len(dataset.labels) if samples else 0)]


def _known_answers(dataset: RawDataset, names: tuple[str, ...], used: Sequence[int]) -> dict[int, int]:
    """Return the model's number of each answer that it knows; answers are no numbers, whatever they look like."""
    named = [old for old in used if not is_nameless(dataset.labels[old])]
    if not named:
        return {old: old for old in used}
    find = class_finder(names, numbers=False)
    places = _places(named, lambda old: find(dataset.labels[old]))
    if not places:
        raise _named_otherwise(dataset, names, named)
    return places


def _known_classes(dataset: RawDataset, names: tuple[str, ...], used: Sequence[int]) -> dict[int, int]:
    """Return the model's number of each class: by its name, else by its number; of those that are not used, if any.

    Raises:
        InputError: the model knows some of the names only, or none and the classes have no numbers.
    """
    find, labels = class_finder(names), dataset.labels
    counted = all(class_number(name) is not None for name in names)

    def find_name(old: int) -> int | None:
        """Return the class of the same name; the number of a class without a name is no name beside real ones."""
        new = find(labels[old])
        is_name = counted or new is None or not is_nameless(names[new]) or labels[old] == names[new]
        return new if is_name else None

    def find_number(old: int) -> int | None:
        return find(str(old)) if counted else old

    numbered = counted or all(labels[old].isdecimal() for old in used)
    numbered = numbered or (dataset.numbers_in_files and len(names) == len(labels))
    by_number = numbered and not dataset.numbered_here and not _places(used, find_name)
    places = _places(range(len(labels)), find_number if by_number else find_name)
    if unknown := [old for old in used if old not in places]:
        raise _named_otherwise(dataset, names, unknown)
    return places


def _places(classes: Iterable[int], find: Callable[[int], int | None]) -> dict[int, int]:
    return {old: new for old in classes if (new := find(old)) is not None}


def _named_otherwise(dataset: RawDataset, names: Sequence[str], unknown: Sequence[int]) -> DasError:
    called = [dataset.labels[old] for old in unknown]
    counted = all(class_number(name) is not None for name in (*called, *names))
    counts = "number the classes in the data as the model's names do (which may count from 1), or "
    return input_error(
        "classes-named-otherwise",
        f"the model names its classes {shorten(names)}; the data has {shorten(called)}",
        "the model's name for each class of the data",
        (counts if counted else "rename the classes in the data, or ")
        + "give the data this checkpoint was trained on: --data",
    )


def _check_numbering(dataset: RawDataset, task: Task) -> RawDataset:
    """Return the data as it is.

    Raises:
        InputError: its class numbers mean nothing outside its folder.
    """
    if dataset.numbered_here:
        raise input_error(
            "classes-not-numbered",
            f"the checkpoint does not say what its classes are called, and the data ({dataset.layout}) does not say "
            f"how {shorten(dataset.labels)} are numbered",
            "names in the checkpoint (id2label in config.json), or numbers in the data, from 0"
            + (", or answers.txt beside it: an answer in each line, in the order of the head" * task.open_vocabulary),
            "add one of them (see docs/data.md)",
        )
    return dataset


def _renumber(records: Records, places: Mapping[int, int]) -> Records:
    """Return the records with new class numbers; those left without any are dropped, and counted."""
    moved = [(sample, _renumber_sample(sample, places)) for sample in records.samples]
    samples = tuple(after for before, after in moved if after.labels or not before.labels)
    return replace(records, samples=samples, dropped=records.dropped + len(moved) - len(samples))


def _renumber_tags(records: Records, places: Mapping[int, int]) -> Records:
    """Return the records with new numbers of tags, which stay in order."""
    moved = (replace(sample, labels=tuple(places[tag] for tag in sample.labels)) for sample in records.samples)
    return replace(records, samples=tuple(moved))


def _renumber_sample(sample: Sample, places: Mapping[int, int]) -> Sample:
    """Return the sample with new class numbers; of answers that are one to the model the best score counts."""
    scores: dict[int, float] = {}
    for label, score in zip(sample.labels, sample.scores, strict=True):
        if label in places:
            scores[places[label]] = max(score, scores.get(places[label], 0.0))
    return replace(sample, labels=tuple(scores), scores=tuple(scores.values()))

"""Roles of splits: which samples are trained on, which choose the layers, and which are reported."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from compressor.data.held_out import HELD_OUT
from compressor.data.pairs.paired_split import PairedSplit
from compressor.data.reading.class_labels import nameless
from compressor.data.splits import ScoredData, Split, TaskData, WholeData
from compressor.data.texts.embedded_split import EmbeddedSplit, keep_apart
from compressor.data.types import SCORED, ImageRef, RawDataset, Records, Sample, Transforms
from compressor.errors import InputError, input_error, shorten
from compressor.tasks.task import Task

UNREADABLE_SHARE = 0.01  # more unusable rows than this fail the command
HELD_OUT_SHARE = 0.1
TENTH = "train, a tenth"  # the name of the held-out split where it is taken from the training
INPUT_SHARES = (0.25, 0.25)  # of inputs without answers: subsets are scored on the first, the report is on the second
LEAST_INPUTS = 16  # without an image in common


def make_splits(dataset: RawDataset, root: Path, task: Task, transforms: Transforms, classes: int) -> TaskData:
    """Return the splits of ``dataset`` in their roles.

    Scores come from ``test`` where it has answers, the layers are then chosen on ``val``. Without a labelled test
    split scores come from ``val``, and a tenth of the training images (of the rows, without images) is held out. Where
    there is a split ``HELD_OUT``, the layers are chosen on it.

    Raises:
        InputError: too few splits or samples, labels the head does not have, or too many unusable records.
    """
    _check_unreadable(dataset.splits, root)
    usable = {name: _usable(records, task, classes) for name, records in dataset.splits.items()}
    _check_classes(dataset, root, classes)
    usable = {name: records for name, records in usable.items() if records.samples}
    if HELD_OUT in dataset.splits.keys() - usable.keys():
        files = ", ".join(str(file) for file in dataset.splits[HELD_OUT].files)
        raise input_error(
            "held-out-without-answers",
            f"{files} has no sample with an answer of the model's",
            "samples to choose layers on",
            "--holdout FILE, FOLDER or SPLIT of other samples",
        )
    if "train" not in usable or not usable.keys() & {"val", "test"}:
        missing = ("train",) if "train" not in usable else ("val", "test")
        raise _split_missing(dataset, root, task, usable, "a training split, and a validation or a test split", missing)

    def split(name: str, records: Records) -> Split:
        return task.split(name, records, transforms, classes, task.images)

    splits = {name: split(name, records) for name, records in usable.items()}
    evaluation, *extra = (splits[name] for name in _scored(splits, task))
    if HELD_OUT in splits:
        roles = splits["train"], splits[HELD_OUT], evaluation
    elif "val" in splits and "test" in splits:
        roles = splits["train"], splits["val"], evaluation
    else:
        fitting, held_out = _hold_out(usable["train"], root, task)
        roles = split("train", fitting), split(TENTH, held_out), evaluation
    if task.ranked or issubclass(task.split, PairedSplit):
        _check_images(roles[0], roles[1], root)
    if issubclass(task.split, EmbeddedSplit):
        roles = *keep_apart(roles[0], roles[1], HELD_OUT_SHARE), evaluation
        _check_texts(roles[:2], root)
    labels = _name_all(dataset.labels, classes, task)
    return TaskData(*roles, tuple(extra), labels, dataset.metrics, dataset.layout)


def make_scored(dataset: RawDataset, root: Path, task: Task, transforms: Transforms, classes: int) -> ScoredData:
    """Return the splits of ``dataset`` that a model is scored on: no others need to be there, or to be sound.

    Raises:
        InputError: there is none with answers, labels the head does not have, or too many unusable records.
    """
    usable = {name: _usable(records, task, classes) for name, records in dataset.splits.items() if name in SCORED}
    _check_classes(dataset, root, classes)
    there = {name for name, records in usable.items() if records.samples or _spoiled([dataset.splits[name]])}
    if not there:
        raise _split_missing(dataset, root, task, (), "a test or a validation split", ("val", "test"))
    names = _scored(there, task)
    _check_unreadable({name: dataset.splits[name] for name in names}, root)
    evaluation, *extra = (task.split(name, usable[name], transforms, classes, task.images) for name in names)
    return ScoredData(evaluation, tuple(extra), _name_all(dataset.labels, classes, task), dataset.metrics)


def make_whole(
    name: str, dataset: RawDataset, root: Path, task: Task, transforms: Transforms, classes: int
) -> WholeData:
    """Return a split that was read whole: every row, whether or not it has an answer.

    Raises:
        InputError: it is not there, rows of it cannot be used, or it has labels that the head does not have.
    """
    if name not in dataset.splits:
        known = (f"{split} ({file})" for split, file in dataset.files.items() if split != "train")
        raise input_error(
            "split-not-there",
            f"{root} ({dataset.layout}) has no split {name}",
            f"the file of one of its splits: {', '.join(known) or 'docs/data.md'}",
            "--split NAME of one whose file is there, or --data FOLDER that has it",
        )
    records = dataset.splits[name]
    if bad := records.unreadable:
        raise input_error(
            "rows-without-an-answer",
            f"{len(bad)} of {len(bad) + len(records.samples)} rows cannot be answered: {shorten(bad, 3, '; ')}",
            "a file that answers every row, as test servers ask for",
            "repair these rows",
        )
    _check_classes(dataset, root, classes)
    answered = _usable(records, task, classes)
    every, scored = (task.split(name, part, transforms, classes, task.images) for part in (records, answered))
    labels = _name_all(dataset.labels, classes, task)
    return WholeData(
        every,
        scored if answered.samples else None,
        labels,
        (*dataset.written, *labels[len(dataset.written) :]),
        dataset.ids,
        dataset.metrics,
        dataset.layout,
    )


def _scored(there: Collection[str], task: Task) -> list[str]:
    """Return the split that the score comes from, then those that are scored apart."""
    evaluation, *others = (name for name in SCORED if name in there)
    return [evaluation, *(name for name in others if name != "val" or task.report_val)]


def _split_missing(
    dataset: RawDataset, root: Path, task: Task, answered: Collection[str], needed: str, missing: Sequence[str]
) -> InputError:
    files = " or ".join(dataset.files.get(split, split) for split in missing)
    spoiled = [records.unreadable for records in dataset.splits.values() if records.unreadable and not records.samples]
    lost = "".join(f"; none of {len(rows)} rows can be used: {rows[0]}" for rows in spoiled)
    if dropped := sum(records.dropped for records in dataset.splits.values()):
        lost += f"; {dropped:,} {task.samples} have no answer that the model can give"
    lost += "".join(f"; {note}" for note in dataset.notes)
    return input_error(
        "split-missing",
        f"{root} ({dataset.layout}) has answers for the splits: {', '.join(answered) or 'none'}{lost}",
        f"{needed}, with answers",
        f"add {files}, or give another folder: --data (docs/data.md has the files of each layout)",
    )


def make_split(name: str, dataset: RawDataset, task: Task, transforms: Transforms, classes: int) -> Split:
    """Return one split of ``dataset``, whose share of unreadable rows was judged before.

    Raises:
        InputError: it is not there, or has labels that the head does not have.
    """
    if name not in dataset.splits:
        there = ", ".join(dataset.splits) or "none"
        raise input_error(
            "split-gone",
            f"no split {name} any more (splits: {there})",
            "the data of this run",
            "put it back, or --data",
        )
    return task.split(name, _usable(dataset.splits[name], task, classes), transforms, classes, task.images)


def make_unlabelled_splits(
    dataset: RawDataset, root: Path, task: Task, transforms: Transforms, classes: int
) -> TaskData:
    """Return unlabelled inputs at random in three roles: half train, a quarter chooses the layers, a quarter reports.

    No image is in two of them.

    Raises:
        InputError: too few inputs, or too many unusable records.
    """
    _check_unreadable(dataset.splits, root)
    (records,) = dataset.splits.values()
    if (different := len(set(_groups(records.samples, task.split.by_text)))) < LEAST_INPUTS:
        shared = "an image" if task.images else "a text" if task.split.by_text else ""
        apart = f", {different} of them without {shared} in common" if shared else ""
        raise input_error(
            "too-few-inputs",
            f"{root} holds {len(records.samples)} different inputs{apart}",
            f"at least {LEAST_INPUTS}, better a few hundred",
            "give more inputs: --calibration",
        )
    held_out, evaluation, fitting = random_partition(records.samples, INPUT_SHARES, task.split.by_text)

    def split(name: str, samples: tuple[Sample, ...]) -> Split:
        part = replace(records, samples=samples, unreadable=records.unreadable if samples is fitting else ())
        return task.split(name, part, transforms, classes, task.images)

    roles = split("calibration", fitting), split("held out", held_out), split("evaluation", evaluation)
    return TaskData(*roles, (), _name_all(dataset.labels, classes, task), (), dataset.layout)


def _name_all(labels: tuple[str, ...], classes: int, task: Task) -> tuple[str, ...]:
    """Return a name for each of the model's outputs: none of a vector's; of a score's the last is the data's."""
    if task.output == "embedding":
        return ()
    if task.output == "score":
        return (*map(nameless, range(classes - len(labels))), *labels)
    return (*labels, *map(nameless, range(len(labels), classes)))


def _check_texts(parts: Sequence[Split], root: Path) -> None:
    for part in parts:
        if not len(part):
            raise input_error(
                "no-texts-apart",
                f"{root} leaves no text for the split {part.name!r} once no text is in two of them",
                "texts to train on, and others that layers are chosen on",
                "give more texts",
            )


def _check_images(train: Split, held_out: Split, root: Path) -> None:
    for part in (train, held_out):
        if len({sample.images[0] for sample in part.samples}) < 2:
            raise input_error(
                "captions-of-one-image",
                f"{root} leaves captions of one image for the split {part.name!r}",
                "captions of several images, to tell one from the other",
                "give more images",
            )


def _spoiled(parts: Collection[Records]) -> bool:
    """Return whether no row can be used, or more cannot than a score may leave out; absent images are no fault."""
    bad, readable = sum(len(part.unreadable) for part in parts), sum(len(part.samples) for part in parts)
    faults = bad - sum(part.absent for part in parts)
    return faults > UNREADABLE_SHARE * (bad + readable) or (bad > 0 and not readable)


def _check_unreadable(splits: Mapping[str, Records], root: Path) -> None:
    if _spoiled(splits.values()):
        bad = [place for records in splits.values() for place in records.unreadable]
        total = len(bad) + sum(len(records.samples) for records in splits.values())
        raise input_error(
            "too-many-unusable-rows",
            f"{len(bad)} of {total} rows in {root} cannot be used: {shorten(bad, 3, '; ')}",
            f"at most {UNREADABLE_SHARE:.0%} unusable rows",
            "repair or remove them, or copy the data again",
        )


def _check_classes(dataset: RawDataset, root: Path, classes: int) -> None:
    """Refuse a list of classes that is longer than the head: its numbers are not those of the head.

    Raises:
        InputError: it is.
    """
    if len(dataset.labels) > classes:
        raise input_error(
            "more-classes-than-head",
            f"{root} ({dataset.layout}) has {len(dataset.labels)} classes, the model's head has {classes}",
            "classes that are numbered as the head's",
            "give the data, or the answers.txt, of this checkpoint: --data",
        )


def _usable(records: Records, task: Task, classes: int) -> Records:
    """Return the records with labels.

    Raises:
        InputError: a label that the head does not have.
    """
    if task.ranked or task.taught:
        return records
    samples = tuple(sample for sample in records.samples if sample.labels)
    labels = {label for sample in samples for label in sample.labels}
    beyond = max(labels, default=0)
    if beyond >= classes:
        from_one = min(labels) > 0 and beyond == classes
        raise input_error(
            "label-beyond-head",
            f"{', '.join(path.name for path in records.files)} has label {beyond}, "
            f"the model's head has {classes} classes",
            "labels that the head has",
            f"count the labels from 0: these seem to be counted from 1, to {beyond}"
            if from_one
            else "give the --data folder of this checkpoint, or convert it again",
        )
    return replace(records, samples=samples, dropped=records.dropped + len(records.samples) - len(samples))


def _hold_out(records: Records, root: Path, task: Task) -> tuple[Records, Records]:
    """Return the training records without a random tenth of their images, and that tenth; no image is in both."""
    held_out, fitting = random_partition(records.samples, (HELD_OUT_SHARE,), task.split.by_text)
    records = replace(records, judgements=None)  # they are of all samples together
    if not fitting:
        raise input_error(
            "nothing-to-train-on",
            f"{root} leaves no sample to train on once some are held out",
            "samples enough to train on some and hold others out",
            "give more training data, or a labelled test split beside val",
        )
    return replace(records, samples=fitting), replace(records, samples=held_out, unreadable=(), dropped=0, absent=0)


def random_partition(
    samples: Sequence[Sample], shares: Sequence[float], by_text: bool = False
) -> list[tuple[Sample, ...]]:
    """Return the samples in ``len(shares) + 1`` random parts; the last one is the rest.

    Shares are of the images, or of the samples where these have none; no image is in two parts. ``by_text`` they are of
    the texts, and no text is.
    """
    keys = _groups(samples, by_text)
    distinct = list(dict.fromkeys(keys))
    order = np.random.default_rng(0).permutation(len(distinct))
    counts = [max(1, int(len(distinct) * share)) for share in shares]
    part_of = {distinct[i]: part for part, some in enumerate(np.split(order, np.cumsum(counts))) for i in some}
    return [
        tuple(sample for sample, key in zip(samples, keys, strict=True) if part_of[key] == part)
        for part in range(len(shares) + 1)
    ]


def _groups(samples: Sequence[Sample], by_text: bool) -> Sequence[int | str]:
    """Return a key for each sample: those of one key belong together, by their text or by their images."""
    return [sample.text for sample in samples] if by_text else _image_groups(samples)


def _image_groups(samples: Sequence[Sample]) -> list[int]:
    """Return a group number for each sample; samples that share images, directly or through others, have the same."""
    group: dict[ImageRef, int] = {}
    members: dict[int, list[ImageRef]] = {}
    keys = []
    for number, sample in enumerate(samples):
        met = {group[image] for image in sample.images if image in group}
        largest = max(met, key=lambda g: len(members[g]), default=number)
        members.setdefault(largest, [])
        moved = [image for g in met - {largest} for image in members.pop(g)]
        for image in (*moved, *(image for image in sample.images if image not in group)):
            group[image] = largest
            members[largest].append(image)
        keys.append(largest)
    return [group[sample.images[0]] if sample.images else key for sample, key in zip(samples, keys, strict=True)]

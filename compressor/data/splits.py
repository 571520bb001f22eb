"""Samples by number, as batches; and which of them are trained on, which choose the layers, and which are reported."""

from __future__ import annotations

import copy
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from compressor.data.arrow_files import fingerprint
from compressor.data.images import decode_image
from compressor.data.types import Found, Picture, Rows, Sample, Transforms
from compressor.errors import input_error

if TYPE_CHECKING:
    from compressor.tasks.task import Task

UNREADABLE_SHARE = 0.01  # more unusable rows than this fail the command
HELD_OUT_SHARE = 0.1
INPUT_SHARES = (0.25, 0.25)  # of inputs without answers: subsets are scored on the first, the report is on the second
LEAST_INPUTS = 16  # without an image in common
FALSE_TEXTS = 15  # false captions that an image's own is told from in training, as in METER and ViLT
PIXEL_CACHE_BYTES = 1 << 30


class Split:
    """Samples of one split, by number.

    Args:
        name: as reports call it.
        rows: its files and samples.
        transforms: of the model at hand.
        classes: outputs of the model's head.
        images: of one sample.
    """

    def __init__(self, name: str, rows: Rows, transforms: Transforms, classes: int, images: int) -> None:
        self.name, self.rows, self.samples = name, rows, rows.samples
        self.transforms, self.classes, self.images = transforms, classes, images
        self._pixels: dict[Picture, Tensor] = {}
        self._pixel_bytes = 0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def rows_per_sample(self) -> int:
        """Rows of the model's batch that one sample becomes: the work it takes."""
        return max(1, self.images)

    def part(self, numbers: Sequence[int] | np.ndarray) -> Split:
        """A split of these samples alone."""
        part = copy.copy(self)
        part.samples = tuple(self.samples[int(number)] for number in numbers)
        return part

    def describe(self) -> dict[str, Any]:
        """Which files, how many samples, a fingerprint of the files, and the rows that are left out."""
        return {
            "name": self.name,
            "files": [path.name for path in self.rows.files],
            "rows": len(self),
            "fingerprint": "-".join(fingerprint(path) for path in self.rows.files),
            "dropped": self.rows.dropped,
            "unreadable": list(self.rows.unreadable),
        }

    def inputs(self, numbers: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """The model's inputs of these samples."""
        chosen = [self.samples[int(number)] for number in numbers]
        pairs = [sample.second for sample in chosen if sample.second is not None]
        return {
            **self.transforms.text([sample.text for sample in chosen], pairs or None),
            **self.pixels([picture for sample in chosen for picture in sample.pictures]),
        }

    def batch(self, numbers: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """The model's inputs and ``targets`` (B, classes): how right each answer is, 0 to 1."""
        return {**self.inputs(numbers), "targets": self.targets(numbers)}

    def targets(self, numbers: Sequence[int] | np.ndarray) -> Tensor:
        """How right each answer to these samples is, (B, classes), 0 to 1."""
        targets = torch.zeros(len(numbers), self.classes)
        for row, number in enumerate(numbers):
            sample = self.samples[int(number)]
            targets[row, list(sample.labels)] = torch.tensor(sample.scores)
        return targets

    def pixels(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """The model's image inputs; those of one sample lie side by side, or are paired, (B, 2, ...)."""
        if self.transforms.image is None:
            return {}
        found = self.transforms.image.collate([self._decoded(picture) for picture in pictures])
        return found if self.images == 1 else {name: x.unflatten(0, (-1, self.images)) for name, x in found.items()}

    def _decoded(self, picture: Picture) -> Tensor:
        cached = self._pixels.get(picture)
        if cached is not None:
            return cached
        assert self.transforms.image is not None
        try:
            content = picture.read()
        except OSError as error:
            raise input_error(
                f"{picture.origin} cannot be read ({error.strerror or error})",
                "an image",
                "put it back, or --data FOLDER",
            ) from None
        pixels = self.transforms.image(decode_image(content, picture.origin))
        if self._pixel_bytes < PIXEL_CACHE_BYTES:
            self._pixels[picture] = pixels
            self._pixel_bytes += pixels.nbytes
        return pixels


class RankedSplit(Split):
    """Captions and their images: trained against false captions, scored by ranking everything against everything.

    The false captions of a sample follow from its number, so that every epoch, and a resumed run, sees the same.
    """

    @property
    def rows_per_sample(self) -> int:
        """The right caption and the false ones."""
        return 1 + self._false_texts

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Every image once, in order."""
        return tuple(dict.fromkeys(sample.pictures[0] for sample in self.samples))

    @property
    def owners(self) -> np.ndarray:
        """For each caption the number of its image, (captions,)."""
        number = {picture: i for i, picture in enumerate(self.pictures)}
        return np.array([number[sample.pictures[0]] for sample in self.samples])

    @property
    def _false_texts(self) -> int:
        return min(FALSE_TEXTS, max(1, len(self) // 2))

    def texts(self, numbers: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """The model's text inputs of these captions."""
        return self.transforms.text([self.samples[int(number)].text for number in numbers])

    def batch(self, numbers: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Each image once with 1 + n captions, the right one first; ``targets`` (B, 1 + n) say so."""
        captions = [caption for number in numbers for caption in self.captions_of(int(number))]
        pictures = [self.samples[int(number)].pictures[0] for number in numbers]
        return {**self.texts(captions), **self.pixels(pictures), "targets": self.targets(numbers)}

    def targets(self, numbers: Sequence[int] | np.ndarray) -> Tensor:
        """(B, 1 + n): the first caption is the right one."""
        targets = torch.zeros(len(numbers), self.rows_per_sample)
        targets[:, 0] = 1
        return targets

    def captions_of(self, number: int) -> list[int]:
        """The sample's own caption, then captions of other images, drawn by its number."""
        draws = np.random.default_rng((len(self), number)).integers(len(self), size=8 * FALSE_TEXTS)
        own = self.samples[number].pictures[0]
        others = [i for i in dict.fromkeys(draws.tolist()) if self.samples[i].pictures[0] is not own]
        return [number, *(others * FALSE_TEXTS)[: self._false_texts]]


class InputSplit(Split):
    """Inputs without answers; the full model's own become their answers."""

    def describe(self) -> dict[str, Any]:
        """Says whose the answers are, too."""
        return {**super().describe(), "answers": "the full model's own"}

    def answered(self, labels: Sequence[int]) -> InputSplit:
        """The same inputs with a class number each as the right answer."""
        answered = copy.copy(self)
        pairs = zip(self.samples, labels, strict=True)
        answered.samples = tuple(replace(sample, labels=(label,), scores=(1.0,)) for sample, label in pairs)
        return answered


@dataclass(frozen=True)
class TaskData:
    """The splits of a task in their roles.

    Attributes:
        train: adapters learn on it.
        held_out: subsets of layers are rewarded on it; never trained on.
        evaluation: the score in reports comes from it.
        apart: further splits whose scores are reported beside it.
        labels: name of each class.
        metrics: names of the dataset's further metrics.
        layout: how it lies on disk.
    """

    train: Split
    held_out: Split
    evaluation: Split
    apart: tuple[Split, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    layout: str

    @property
    def splits(self) -> tuple[Split, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((self.train, self.held_out, self.evaluation, *self.apart)))


def find_data(named: str | Path | None, recorded: str | None) -> Path:
    """The data folder: what was named, else ``$DAS_DATA``, else ``./data``, else the checkpoint's own data root.

    Raises:
        InputError: none of them is a folder; lists the places looked at.
    """
    candidates = (
        [("--data", str(named))]
        if named
        else [("$DAS_DATA", os.environ.get("DAS_DATA", "")), ("./data", "data"), ("the checkpoint", recorded or "")]
    )
    for _, place in candidates:
        if place and Path(place).is_dir():
            return Path(place)
    looked = "; ".join(f"{origin}: {place or 'not set'}" for origin, place in candidates)
    raise input_error(
        f"no data folder; looked at {looked}",
        "a folder with the task's data (docs/data.md shows the layouts)",
        "--data FOLDER (das demo writes one to demo/data)",
    )


def assign(found: Found, root: Path, task: Task, transforms: Transforms, classes: int) -> TaskData:
    """Give each split of ``found`` its role.

    Scores come from ``test`` where it has answers, the layers are then chosen on ``val``. Without a labelled test
    split scores come from ``val``, and a tenth of the training images (of the rows, without images) is held out.

    Raises:
        InputError: too few splits or samples, labels the head does not have, or too many unusable rows.
    """
    _check_unreadable(found, root)
    usable = {name: _usable(rows, task, classes) for name, rows in found.splits.items()}
    usable = {name: rows for name, rows in usable.items() if rows.samples}
    if "train" not in usable or not usable.keys() & {"val", "test"}:
        raise input_error(
            f"{root} ({found.layout}) has answers for the splits: {', '.join(usable) or 'none'}",
            "a training split, and a validation or a test split, with answers",
            "see docs/data.md for the files of each layout, or give another folder: --data",
        )

    def split(name: str, rows: Rows) -> Split:
        return task.split(name, rows, transforms, classes, task.images)

    splits = {name: split(name, rows) for name, rows in usable.items()}
    others = tuple(part for name, part in splits.items() if name not in ("train", "val", "test"))
    if "val" in splits and "test" in splits:
        beside = (splits["val"],) if task.dev_apart else ()
        roles = splits["train"], splits["val"], splits["test"], (*beside, *others)
    else:
        kept, back = _hold_out(usable["train"], root)
        scored = splits.get("val", splits.get("test"))
        assert scored is not None
        roles = split("train", kept), split("train, a tenth", back), scored, others
    if task.ranked:
        _check_images(roles[0], roles[1], root)
    return TaskData(*roles, _all_named(found.labels, classes), found.metrics, found.layout)


def assign_inputs(found: Found, root: Path, task: Task, transforms: Transforms, classes: int) -> TaskData:
    """Divide inputs without answers by lot: half for fitting, a quarter for choosing, a quarter for the report.

    No image is in two of them.

    Raises:
        InputError: too few inputs, or too many unusable rows.
    """
    _check_unreadable(found, root)
    (rows,) = found.splits.values()
    if (different := len(set(_connected(rows.samples)))) < LEAST_INPUTS:
        apart = f", {different} of them without an image in common" if task.images else ""
        raise input_error(
            f"{root} holds {len(rows.samples)} different inputs{apart}",
            f"at least {LEAST_INPUTS}, better a few hundred",
            "give more inputs: --calibration",
        )
    held_out, evaluation, fitting = _drawn(rows.samples, INPUT_SHARES)

    def split(name: str, samples: tuple[Sample, ...]) -> Split:
        part = replace(rows, samples=samples, unreadable=rows.unreadable if samples is fitting else ())
        return task.split(name, part, transforms, classes, task.images)

    roles = split("calibration", fitting), split("held out", held_out), split("evaluation", evaluation)
    return TaskData(*roles, (), _all_named(found.labels, classes), (), found.layout)


def _all_named(labels: tuple[str, ...], classes: int) -> tuple[str, ...]:
    return (*labels, *(f"<class {number}>" for number in range(len(labels), classes)))


def _check_images(train: Split, held_out: Split, root: Path) -> None:
    for part in (train, held_out):
        if len({sample.pictures[0] for sample in part.samples}) < 2:
            raise input_error(
                f"{root} leaves captions of one image for the split {part.name!r}",
                "captions of several images, to tell one from the other",
                "give more images",
            )


def in_order(found: Found, names: Sequence[str], task: Task, own_head: bool = True) -> Found:
    """The same data with classes numbered as the model numbers them.

    Args:
        found: data whose own numbering may differ.
        names: the checkpoint's name of each class; empty, or ``<class 0>`` and so on, when it names none.
        task: an open vocabulary may have answers that the model does not know; they are dropped, and counted.
        own_head: the head is the checkpoint's; a new one takes the data's numbers.

    Raises:
        InputError: classes that the model has no name for, or that have names where the model has numbers only.
    """
    if not own_head or tuple(names) == found.labels:
        return found
    if all(name.startswith("<class ") for name in names):
        return _as_numbered(found, task)
    if all(re.fullmatch(r"\d+|<class \d+>", name) for name in found.labels):
        return found
    loose = {name.lower(): i for i, name in reversed(tuple(enumerate(names)))}
    number = loose | {name: i for i, name in reversed(tuple(enumerate(names)))}
    known = {old: number.get(name, loose.get(name.lower())) for old, name in enumerate(found.labels)}
    places = {old: new for old, new in known.items() if new is not None}
    named = {old for old, name in enumerate(found.labels) if not name.startswith("<class ")}
    if not places or (not task.open_vocabulary and named - places.keys()):
        unknown = [found.labels[old] for old in sorted(named - places.keys())]
        raise input_error(
            f"the model names its classes {_some(names)}; the data has {_some(unknown)}",
            "the model's name for each class of the data",
            "rename the classes in the data, or give the data this checkpoint was trained on: --data",
        )
    splits = {name: _renumbered(rows, places) for name, rows in found.splits.items()}
    return replace(found, splits=splits, labels=tuple(names))


def _as_numbered(found: Found, task: Task) -> Found:
    """The data as it is, if its numbers are anybody else's, too."""
    if found.numbered_here:
        raise input_error(
            f"the checkpoint does not say what its classes are called, and the data ({found.layout}) does not say how "
            f"{_some(found.labels)} are numbered",
            "names in the checkpoint (id2label in config.json), or numbers in the data"
            + (", or answers.txt beside it: an answer in each line, in the order of the head" * task.open_vocabulary),
            "add one of them (see docs/data.md)",
        )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _renumbered(rows: Rows, places: Mapping[int, int]) -> Rows:
    """The same rows with other class numbers; those whose answers the model does not know are dropped, and counted."""
    moved = [(sample, _moved(sample, places)) for sample in rows.samples]
    kept = tuple(after for before, after in moved if after.labels or not before.labels)
    return replace(rows, samples=kept, dropped=rows.dropped + len(moved) - len(kept))


def _moved(sample: Sample, places: Mapping[int, int]) -> Sample:
    pairs = zip(sample.labels, sample.scores, strict=True)
    known = [(places[label], score) for label, score in pairs if label in places]
    return replace(sample, labels=tuple(label for label, _ in known), scores=tuple(score for _, score in known))


def _check_unreadable(found: Found, root: Path) -> None:
    bad = [place for rows in found.splits.values() for place in rows.unreadable]
    total = len(bad) + sum(len(rows.samples) for rows in found.splits.values())
    if len(bad) > UNREADABLE_SHARE * total:
        shown = "; ".join(bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise input_error(
            f"{len(bad)} of {total} rows in {root} cannot be used: {shown}",
            f"at most {UNREADABLE_SHARE:.0%} unusable rows",
            "repair or remove them, or copy the data again",
        )


def _usable(rows: Rows, task: Task, classes: int) -> Rows:
    """The samples with answers, once every answer is one that the head has."""
    if task.ranked:
        return rows
    samples = tuple(sample for sample in rows.samples if sample.labels)
    beyond = max((label for sample in samples for label in sample.labels), default=0)
    if beyond >= classes:
        raise input_error(
            f"{', '.join(path.name for path in rows.files)} has answer label {beyond}, "
            f"the model's head has {classes} classes",
            "answer labels that the head has",
            "give the --data folder of this checkpoint, or convert it again",
        )
    return replace(rows, samples=samples, dropped=rows.dropped + len(rows.samples) - len(samples))


def _hold_out(rows: Rows, root: Path) -> tuple[Rows, Rows]:
    """Training rows without and with a tenth of the images, drawn evenly; no image is on both sides."""
    back, kept = _drawn(rows.samples, (HELD_OUT_SHARE,))
    if not kept:
        raise input_error(
            f"{root} leaves no sample to train on once some are held out",
            "samples enough to train on some and hold others out",
            "give more training data, or a labelled test split beside val",
        )
    return replace(rows, samples=kept), replace(rows, samples=back, unreadable=(), dropped=0)


def _drawn(samples: Sequence[Sample], shares: Sequence[float]) -> list[tuple[Sample, ...]]:
    """The samples in parts: of these shares of the images (of the samples, without), drawn evenly, then the rest.

    No image is in two parts.
    """
    keys = _connected(samples)
    distinct = list(dict.fromkeys(keys))
    drawn = np.random.default_rng(0).permutation(len(distinct))
    counts = [max(1, int(len(distinct) * share)) for share in shares]
    part_of = {distinct[i]: part for part, some in enumerate(np.split(drawn, np.cumsum(counts))) for i in some}
    return [
        tuple(sample for sample, key in zip(samples, keys, strict=True) if part_of[key] == part)
        for part in range(len(shares) + 1)
    ]


def _connected(samples: Sequence[Sample]) -> list[int]:
    """For each sample the number of its group: samples that share images, directly or through others, have the same."""
    group: dict[Picture, int] = {}
    members: dict[int, list[Picture]] = {}
    keys = []
    for number, sample in enumerate(samples):
        met = {group[picture] for picture in sample.pictures if picture in group}
        kept = max(met, key=lambda g: len(members[g]), default=number)
        members.setdefault(kept, [])
        moved = [picture for g in met - {kept} for picture in members.pop(g)]
        for picture in (*moved, *(picture for picture in sample.pictures if picture not in group)):
            group[picture] = kept
            members[kept].append(picture)
        keys.append(kept)
    return [group[sample.pictures[0]] if sample.pictures else key for sample, key in zip(samples, keys, strict=True)]


def text_only_floor(train: Split, evaluation: Split) -> float:
    """Score of the best guesser that never sees an image: for each text, its likeliest answer in training."""
    votes: defaultdict[tuple[str, str | None], Counter[int]] = defaultdict(Counter)
    overall: Counter[int] = Counter()
    for sample in train.samples:
        for label, score in zip(sample.labels, sample.scores, strict=True):
            votes[sample.text, sample.second][label] += score  # type: ignore[assignment]
            overall[label] += score  # type: ignore[assignment]
    anything = overall.most_common(1)[0][0]
    total = 0.0
    for sample in evaluation.samples:
        seen = votes.get((sample.text, sample.second))
        guess = seen.most_common(1)[0][0] if seen else anything
        total += dict(zip(sample.labels, sample.scores, strict=True)).get(guess, 0.0)
    return total / len(evaluation)


def majority_floor(train: Split, evaluation: Split) -> float:
    """Score of always giving the most frequent class of the training data."""
    most = Counter(sample.labels[0] for sample in train.samples).most_common(1)[0][0]
    return sum(sample.labels[0] == most for sample in evaluation.samples) / len(evaluation)


def chance_floor(train: Split, evaluation: Split) -> float:
    """R@1, either way, of a guesser that knows neither captions nor images."""
    return 1 / len({sample.pictures[0] for sample in evaluation.samples})

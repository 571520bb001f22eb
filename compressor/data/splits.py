"""Splits: samples by index, as batches of a model's inputs and targets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.data.arrow_files import fingerprint
from compressor.data.batches import TrainingOrder
from compressor.data.images import decode_image
from compressor.data.reading.rows import Unreadable
from compressor.data.text import Text, Tokens
from compressor.data.types import ImageRef, Records, Sample, Transforms
from compressor.errors import input_error

FALSE_TEXTS = 15  # false captions that an image's own is told from in training, as in METER and ViLT
PIXEL_CACHE_BYTES = 1 << 30
LOOKED_AT = 1024  # samples that are looked at for texts that are cut
LARGE_SHARE = 0.25  # of samples left out: VQA v2 loses some 7 % to its 3,129 answers


def describe_dropped(dropped: int, rows: int, why: str = "") -> str:
    """Say how many samples are left out and why: without a reason of their split, as no model can give their answer.

    These may be many beside ``rows``.
    """
    if why:
        return f"{dropped:,} left out: {why}"
    many = dropped > LARGE_SHARE * (dropped + rows)
    remark = "; these are many: is this the data that the model was trained on?" if many else ""
    return f"{dropped:,} left out: no answer of theirs is among the classes{remark}"


def note_cut(split: Split, longest: int) -> tuple[str, ...]:
    """Say how many texts of a split are cut, where the model takes ``longest`` tokens; nothing where none is.

    Nor is anything said where ``longest`` is 0: the user has said where they are cut.
    """
    length, among = split.transforms.text.length, min(len(split), LOOKED_AT)
    cut = split.count_cut(among) if longest else 0
    if not cut:
        return ()
    told = f"{cut:,} of the first {among:,} texts of {split.name} are cut to {length} tokens"
    if length < longest:
        return (f"{told}; the model takes {longest}: --text-length {longest}",)
    return (f"{told}, the most that model and tokenizer take",)


def fit_text_length(scored: Sequence[Split], trained: Sequence[Split], most: int) -> int:
    """Let texts have as many tokens as the longest has, where that is more than they may; return how many.

    Args:
        scored: splits of which every text counts.
        trained: splits whose first ``LOOKED_AT`` texts are looked at.
        most: tokens that a text may have in the end.
    """
    few = (split.subset(range(min(len(split), LOOKED_AT))) for split in trained)
    text = scored[0].transforms.text
    least = text.length
    text.cut_to(most)
    longest = max(int(split.lengths.max(initial=0)) for split in (*scored, *few))
    text.cut_to(min(most, max(least, longest)))
    return text.length


class Split:
    """Samples of one split, by index; texts are tokenised once, and padded to the longest of a batch.

    Attributes:
        left_out: why samples are left out by the rules of the data set; empty where no answer of theirs is among the
            classes.
        by_text: samples of one text belong together: a part of the data has all of them, or none.

    Args:
        name: as reports call it.
        records: its files and samples.
        transforms: of the model at hand.
        classes: outputs of the model's head.
        images: of one sample.
    """

    left_out = ""
    by_text = False

    def __init__(self, name: str, records: Records, transforms: Transforms, classes: int, images: int) -> None:
        self.name, self.records, self.samples = name, records, records.samples
        self.transforms, self.classes, self.images = transforms, classes, images
        self._tokens: dict[Text, Tokens] = {}
        self._pixels: dict[ImageRef, Tensor] = {}
        self._pixel_bytes = 0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def rows_per_sample(self) -> int:
        """Rows of the model's batch that one sample becomes: the work it takes."""
        return max(1, self.images)

    @property
    def has_targets(self) -> bool:
        """Whether it is known what a model should return for these samples."""
        return True

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sample's text, or pair of texts, (n,)."""
        return np.array([tokens.shape[1] for tokens in self._tokenise(self.samples)], dtype=int)

    @property
    def gallery(self) -> tuple[ImageRef, ...]:
        """Every first image of a sample once, in order."""
        return tuple(dict.fromkeys(sample.images[0] for sample in self.samples))

    @property
    def owners(self) -> np.ndarray:
        """For each sample the number of its first image in the gallery, (n,)."""
        number = {image: i for i, image in enumerate(self.gallery)}
        return np.array([number[sample.images[0]] for sample in self.samples])

    def training_order(self, size: int, seed: int) -> TrainingOrder:
        """Return the samples of every step of a training on this split, in batches of ``size``."""
        return TrainingOrder(self.lengths, size, seed)

    def draw(self, most: int, seed: int) -> Split:
        """Draw at most so many samples, uniformly."""
        return self.subset(np.random.default_rng(seed).permutation(len(self))[:most])

    def count_cut(self, among: int) -> int:
        """Return how many of the first ``among`` samples have more tokens than the model is given."""
        text, samples = self.transforms.text, self.samples[:among]
        tokens = zip(samples, self._tokenise(samples), strict=True)
        return sum(text.cuts([self.text_of(sample) for sample, found in tokens if found.shape[1] == text.length]))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Split:
        """Return a split of these samples alone."""
        subset = copy.copy(self)
        subset.samples = tuple(self.samples[int(index)] for index in indices)
        return subset

    def describe(self) -> dict[str, Any]:
        """Return the files, their fingerprint, the number of samples, and the rows that are left out."""
        return {
            "name": self.name,
            "files": [path.name for path in self.records.files],
            "rows": len(self),
            "fingerprint": "-".join(fingerprint(path) for path in self.records.files),
            "dropped": self.records.dropped,
            **({"left_out": self.left_out} if self.left_out else {}),
            "unreadable": list(self.records.unreadable),
        }

    def inputs(self, indices: Sequence[int] | np.ndarray, full_length: bool = False) -> dict[str, Tensor]:
        """Return the model's inputs of these samples; at the ``full_length`` texts have as many tokens as they may."""
        samples = [self.samples[int(index)] for index in indices]
        return {
            **self._texts(samples, full_length),
            **self.pixels([image for sample in samples for image in sample.images]),
        }

    def batch(self, indices: Sequence[int] | np.ndarray, full_length: bool = False) -> dict[str, Tensor]:
        """Return the model's inputs and ``targets`` (B, classes): how right each answer is, 0 to 1."""
        return {**self.inputs(indices, full_length), "targets": self.targets(indices)}

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return the targets of these samples, (B, classes): how right each answer is, 0 to 1."""
        targets = torch.zeros(len(indices), self.classes)
        for row, index in enumerate(indices):
            sample = self.samples[int(index)]
            targets[row, list(sample.labels)] = torch.tensor(sample.scores)
        return targets

    def pixels(self, images: Sequence[ImageRef]) -> dict[str, Tensor]:
        """Return the model's image inputs; those of one sample lie side by side, or are paired, (B, 2, ...)."""
        if self.transforms.image is None:
            return {}
        pixels = self.transforms.image.collate([self._decode(image) for image in images])
        return pixels if self.images == 1 else {name: x.unflatten(0, (-1, self.images)) for name, x in pixels.items()}

    def texts(self, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return the model's text inputs of these samples."""
        return self._texts([self.samples[int(index)] for index in indices])

    def text_of(self, sample: Sample) -> Text:
        """Return what the model reads of a sample: its text, or the pair of its texts."""
        return sample.text if sample.second is None else (sample.text, sample.second)

    def _texts(self, samples: Sequence[Sample], full_length: bool = False) -> dict[str, Tensor]:
        text = self.transforms.text
        return text.pad(self._tokenise(samples), text.length if full_length else None)

    def _tokenise(self, samples: Sequence[Sample]) -> list[Tokens]:
        texts = [self.text_of(sample) for sample in samples]
        new = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        self._tokens.update(zip(new, self.transforms.text.tokenise(new), strict=True))
        return [self._tokens[text] for text in texts]

    def _decode(self, image: ImageRef) -> Tensor:
        cached = self._pixels.get(image)
        if cached is not None:
            return cached
        assert self.transforms.image is not None
        try:
            content = image.read()
        except (OSError, Unreadable) as error:
            raise input_error(
                "image-unreadable",
                f"{image.origin} cannot be read ({getattr(error, 'strerror', None) or error})",
                "an image",
                "put it back, or --data FOLDER",
            ) from None
        pixels = self.transforms.image(decode_image(content, image.origin))
        if self._pixel_bytes < PIXEL_CACHE_BYTES:
            self._pixels[image] = pixels
            self._pixel_bytes += pixels.nbytes
        return pixels


class RankedSplit(Split):
    """Captions and their images: trained against false captions, scored by ranking everything against everything.

    The false captions of a sample follow from its index, so that every epoch, and a resumed run, sees the same.
    """

    @property
    def rows_per_sample(self) -> int:
        """The right caption and the false ones."""
        return 1 + self._false_texts

    @property
    def _false_texts(self) -> int:
        return min(FALSE_TEXTS, max(1, len(self) // 2))

    def batch(self, indices: Sequence[int] | np.ndarray, full_length: bool = False) -> dict[str, Tensor]:
        """Return each image once with 1 + n captions, the right one first; ``targets`` (B, 1 + n) say so."""
        captions = [self.samples[caption] for index in indices for caption in self.captions_of(int(index))]
        images = [self.samples[int(index)].images[0] for index in indices]
        return {**self._texts(captions, full_length), **self.pixels(images), "targets": self.targets(indices)}

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """(B, 1 + n): the first caption is the right one."""
        targets = torch.zeros(len(indices), self.rows_per_sample)
        targets[:, 0] = 1
        return targets

    def captions_of(self, index: int) -> list[int]:
        """Return the sample's own caption, then captions of other images, drawn by its index."""
        draws = np.random.default_rng((len(self), index)).integers(len(self), size=8 * FALSE_TEXTS)
        image = self.samples[index].images[0]
        candidates = [i for i in dict.fromkeys(draws.tolist()) if self.samples[i].images[0] is not image]
        return [index, *(candidates * FALSE_TEXTS)[: self._false_texts]]


class UnlabelledSplit(Split):
    """Inputs without labels; the full model's predictions become their pseudo-labels."""

    _targets: Tensor | None = None

    def describe(self) -> dict[str, Any]:
        """Says whose the answers are, too."""
        return {**super().describe(), "answers": "the full model's own"}

    def with_labels(self, labels: Sequence[int]) -> UnlabelledSplit:
        """Return the same inputs, each with one class number as its right answer."""
        labelled = copy.copy(self)
        pairs = zip(self.samples, labels, strict=True)
        labelled.samples = tuple(replace(sample, labels=(label,), scores=(1.0,)) for sample, label in pairs)
        return labelled

    def with_targets(self, targets: Tensor) -> UnlabelledSplit:
        """Return the same inputs with these targets, (n, ...), in the place of classes."""
        labelled = copy.copy(self)
        labelled._targets = targets
        return labelled

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return what the full model says of these samples, (B, classes), or as its task makes targets, (B, ...)."""
        if self._targets is None:
            return super().targets(indices)
        return self._targets[torch.from_numpy(np.asarray(indices, dtype=np.int64))]

    def subset(self, indices: Sequence[int] | np.ndarray) -> UnlabelledSplit:
        """Return a split of these samples alone."""
        subset = copy.copy(self)
        subset.samples = tuple(self.samples[int(index)] for index in indices)
        subset._targets = None if self._targets is None else self.targets(indices)
        return subset


@dataclass(frozen=True)
class TaskData:
    """The splits of a task in their roles.

    Attributes:
        train: adapters learn on it.
        held_out: subsets of layers are rewarded on it; never trained on.
        evaluation: the score in reports comes from it.
        extra: further splits whose scores are reported beside it.
        labels: name of each class.
        metrics: names of the dataset's further metrics.
        layout: how it lies on disk.
    """

    train: Split
    held_out: Split
    evaluation: Split
    extra: tuple[Split, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    layout: str

    @property
    def splits(self) -> tuple[Split, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((self.train, self.held_out, self.evaluation, *self.extra)))


@dataclass(frozen=True)
class WholeData:
    """A split with every row that it has, to be answered for a test server.

    Attributes:
        every: all samples, in the order of the files.
        scored: those of them that have an answer, in the same order; None where none has.
        labels: name of each class.
        written: what a file of answers calls each class.
        ids: what the data set calls the ids of its samples; empty without any.
        metrics: names of the dataset's further metrics.
        layout: how it lies on disk.
    """

    every: Split
    scored: Split | None
    labels: tuple[str, ...]
    written: tuple[str, ...]
    ids: str
    metrics: tuple[str, ...]
    layout: str


@dataclass(frozen=True)
class ScoredData:
    """The splits of a task that a model is scored on, without those that it was trained on.

    Attributes:
        evaluation: the score comes from it.
        extra: further splits whose scores are reported beside it.
        labels: name of each class.
        metrics: names of the dataset's further metrics.
    """

    evaluation: Split
    extra: tuple[Split, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]

"""Core data types: references to images, samples, records, raw data sets, layouts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from compressor.data.text import TextTransform
from compressor.data.texts.judgements import Judgements
from compressor.progress import QUIET, Progress


class ImageTransform(Protocol):
    """Transform from images to a model's pixels."""

    @property
    def sides(self) -> tuple[int, int]:
        """The smallest and the largest side it makes, in pixels."""

    def __call__(self, image: Image.Image) -> Tensor:
        """Return one RGB image of any size as (3, h, w) float32, normalised."""

    def collate(self, pixels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return ``pixel_values`` (B, 3, H, W) of transformed images, and whatever else the model reads of them."""

    def describe(self) -> dict[str, Any]:
        """Return the name and the numbers, for preprocessor.json."""

    def library_settings(self) -> dict[str, Any]:
        """Return what transformers' preprocessor_config.json says of it."""


@dataclass(frozen=True)
class Transforms:
    """Transforms from the texts and images of samples to a model's inputs.

    There is no ``image`` for models that read text alone; of models that read none ``text`` makes nothing of it.

    ``prompts`` are what a model wants in front of texts that it embeds, by name; '' names what others have no own for.
    """

    text: TextTransform
    image: ImageTransform | None
    prompts: Mapping[str, str] = field(default_factory=dict)


Batch = Mapping[str, Tensor]
"""A model's inputs by name, and ``targets``; the first axis counts samples."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageRef:
    """An encoded image somewhere on disk.

    ``origin`` names the place for messages; ``read`` returns the encoded bytes; ``name`` is what its row calls it.
    Samples of the same image share one reference, so that it is decoded once.
    """

    origin: str
    read: Callable[[], bytes]
    name: str = "the image"


@dataclass(frozen=True, slots=True)
class Sample:
    """One question with its answer, whatever the task.

    Attributes:
        text: the question, statement, caption or sentence; empty where samples are images alone.
        second: the second of a pair of sentences; None elsewhere.
        images: as many as the task has images.
        labels: class numbers of the right answers; empty when they are not public.
        scores: how right each of them is, in (0, 1]; where a sample may have any number of labels, all classes are
            given, with 1 or 0; where a score is asked for it is that, in its own units.
        answer_type, question_type: as VQA v2's annotation has them; empty where there is none.
        id: what its data set calls it; None where that is not read.
        role: of a text that is embedded, ``query`` or ``document`` where the data says so, for the prompts.
    """

    text: str
    second: str | None = None
    images: tuple[ImageRef, ...] = ()
    labels: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    answer_type: str = ""
    question_type: str = ""
    id: Any = None
    role: str = ""


@dataclass(frozen=True)
class Records:
    """The samples read of one split.

    Attributes:
        files: that it was read from, images left out.
        samples: in the order of the files.
        unreadable: "file, row: reason" for each row that cannot be used.
        dropped: samples left out by the rules of the dataset: without an answer among the classes.
        absent: how many of the unreadable rows lack their image in a data set of which not all images can be had; no
            share of them is too large.
        judgements: what people said of samples that are texts to be embedded; None where nothing is known.
        names: of the classes, where the score depends on them: the tags of words.
    """

    files: tuple[Path, ...]
    samples: tuple[Sample, ...]
    unreadable: tuple[str, ...] = ()
    dropped: int = 0
    absent: int = 0
    judgements: Judgements | None = None
    names: tuple[str, ...] = ()


SCORED = ("test", "val", "val mismatched")
"""The splits that a model is scored on. The first that is there gives the score."""
IN_ROLES = ("train", *SCORED)
"""The splits that a compression reads; others are there to be answered for a test server."""


@dataclass(frozen=True)
class RawDataset:
    """The data of one task as it lies in a folder, before its splits have roles.

    Attributes:
        layout: name of the layout it lies in.
        splits: by name: those that were wanted and are there.
        labels: name of each class.
        numbered_here: the numbers of the classes are only the order in which they were found in this folder.
        numbers_in_files: the files have numbers; the names are those that the makers of the data set gave them.
        metrics: names of further metrics that belong to this dataset (GLUE's), keys of
        ``compressor.evaluation.metrics.METRICS``.
        files: for each split the name of its file, or of its files, for messages about one that is not there.
        ids: what the data set calls the ids of its samples; empty without any.
        written: what its files write for each class, where that is not its name.
        notes: sentences on what was left out or counted.
    """

    layout: str
    splits: Mapping[str, Records]
    labels: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    numbered_here: bool = False
    numbers_in_files: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    ids: str = ""
    written: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Options of reading a data set, and the checks already done.

    Attributes:
        progress: told of the rows.
        splits: names of the splits that are wanted.
        checked: the unreadable rows ("file, row: reason") of files whose images have been checked, by fingerprint of
            the file. Images of all other files are checked while they are read: each is decoded once.
        whole: every row is wanted, with its id, also one whose answer is not there or is none of the classes: such
            samples have no labels. Else rows count that have an answer, and splits that have any.
    """

    progress: Progress = QUIET
    splits: Collection[str] = IN_ROLES
    checked: Mapping[str, Collection[str]] = field(default_factory=dict)
    whole: bool = False

    def wants(self, split: str) -> bool:
        """Return whether a split is to be read."""
        return split in self.splits


class Layout(Protocol):
    """One way in which a task's data lies on disk."""

    @property
    def name(self) -> str:
        """Name for messages and reports."""

    @property
    def looks_for(self) -> str:
        """The files that it is recognised by, in words."""

    def recognises(self, root: Path) -> bool:
        """Return whether a folder is laid out this way, at a glance."""

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Read the splits that are wanted from such a folder.

        Raises:
            InputError: a file cannot be used as a whole.
        """

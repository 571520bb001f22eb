"""A run's folder of exports: the only code that names, reads and matches files in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compressor.errors import InputError, input_error
from compressor.families.family import Family
from compressor.files import parts_of
from compressor.saved_run.run_folder import Run
from exporters.checks.records import EXPORTS, RECORD, Parity, read_record, record_of
from exporters.graph.inputs import VARYING, Fixed, texts_that_fit
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes import RUNTIMES
from exporters.runtimes.runtime import Runtime

FULL = "full"  # in a run's folder of exports, the folder of its full model's
QDQ = ".qdq"  # in the name of the int8 graph that TensorRT reads
# The graphs of a split export: the vision tower and the rest, or, of two towers, that of the texts. The record of both
# is the second's.
VISION, REST, TEXT = "vision.onnx", "rest.onnx", "text.onnx"


@dataclass(frozen=True)
class Export:
    """An export with a record: its main file, the runtime that executes it, and the record."""

    path: Path
    runtime: Runtime
    record: Parity

    @property
    def exists(self) -> bool:
        """True if the file is there; of an export that failed, the record alone is."""
        return self.path.exists()

    @property
    def bytes(self) -> int:
        """Size of the file and of those that belong to it, without JSON records."""
        return count_bytes(self.path)

    @property
    def executable(self) -> bool:
        """True if its runtime executes it by itself: not a part of a split export, nor a graph for TensorRT."""
        return not is_split(self.path) and QDQ not in self.path.name

    @property
    def text_length(self) -> int | None:
        """Tokens of the texts it takes, where it takes one length only: it was tried with no other."""
        lengths = self.record.text_lengths
        return lengths[0] if len(lengths) == 1 else None

    def require_files(self) -> None:
        """Hold that every file is there that the record names.

        Raises:
            InputError: names those that are not.
        """
        missing = [
            name for name in {self.path.name: "", **self.record.sha256} if not self.path.with_name(name).is_file()
        ]
        if missing:
            raise input_error(
                "export-incomplete",
                f"no {', '.join(missing)} in {self.path.parent}",
                f"every file that {record_of(self.path).name} names",
                "copy it from where it was made, or das export again",
            )


@dataclass(frozen=True)
class ExportsFolder:
    """The exports of one model, in one folder."""

    path: Path

    def full(self) -> ExportsFolder:
        """Return the exports of the full model, of which this is the folder of the slim one's."""
        return ExportsFolder(self.path / FULL)

    def path_for(self, runtime: Runtime, precision: Precision = PRECISIONS["fp32"], fixed: Fixed = VARYING) -> Path:
        """Return where the file is that ``runtime`` executes, or would be.

        Raises:
            EnvironmentProblem: as :meth:`exporters.runtimes.runtime.Runtime.ending`.
        """
        return self.path / runtime.file_name(precision, fixed)

    def split(self) -> tuple[Path, Path] | None:
        """Vision tower and rest, or text tower; None where they are not both there: they are only when they passed."""
        vision = self.path / VISION
        there = (vision, *(part for name in (REST, TEXT) if (part := self.path / name).exists()))
        return (vision, there[1]) if vision.exists() and len(there) > 1 else None

    def entries(self, skip: Callable[[str, InputError], None] | None = None) -> tuple[Export, ...]:
        """Return every export that has a record, by name; those that failed and are gone, too.

        Args:
            skip: is told the name of an export whose record cannot be read; None raises.

        Raises:
            InputError: a record cannot be read.
        """
        exports = []
        for file in sorted(self.path.glob(f"*{RECORD}")):
            path = file.with_name(file.name.removesuffix(RECORD))
            owners = [runtime for runtime in RUNTIMES if runtime.suffix and path.name.endswith(runtime.suffix)]
            if not owners:
                continue
            runtime = max(owners, key=lambda owner: len(owner.suffix))  # one suffix may be the end of another
            try:
                exports.append(Export(path, runtime, read_record(path)))
            except InputError as error:
                if skip is None:
                    raise
                skip(path.name, error)
        return tuple(exports)

    def best_for(
        self, runtime: Runtime, precision: Precision, family: Family, inputs: Mapping[str, Tensor]
    ) -> tuple[Path, Fixed]:
        """Return the export that takes all of ``inputs``, and the sizes it is fixed to.

        The split export in fp32 comes first, then one that takes any size; of those of one text length the shortest
        that holds every text. Of fixed batches only those of one sample are taken.

        Args:
            runtime: what is to execute it.
            precision: of the export.
            family: of the model.
            inputs: (N, ...) by name.

        Raises:
            InputError: there is none.
            EnvironmentProblem: as :meth:`path_for`.
        """
        wanted = self._takes_any(runtime, precision)
        if is_split(wanted):
            return wanted, VARYING
        padded = family.sizes_of("text", inputs).get("length", 0)
        needed = next((length for length in range(1, padded + 1) if texts_that_fit(family, inputs, length).all()), 0)
        sizes = {path: self._sizes(path, runtime, precision) for path in self.path.glob(f"*{wanted.suffix}")}
        takes = {
            path: fixed
            for path, fixed in sizes.items()
            if fixed and fixed.batch in (None, 1) and needed <= (fixed.text_length or padded) <= padded
        }
        if not takes:
            others = ", ".join(sorted(path.name for path in sizes))
            raise input_error(
                "export-missing",
                f"no {wanted.name} in {self.path}" + (f"; there is {others}" if others else ""),
                "an exported model that takes single samples" + (f" with texts of {needed} tokens" if needed else ""),
                f"das export {self.path.parent} --to {runtime.name} --precision {precision.name}",
            )
        return min(takes.items(), key=lambda entry: (entry[1].text_length or 0, entry[1].batch or 0))

    def is_certified(self, runtime: Runtime, precision: Precision) -> bool:
        """Return whether there is an export that takes any size and passed on many real samples."""
        path = self._takes_any(runtime, precision)
        try:
            export = Export(path, runtime, read_record(path))
            export.require_files()
        except InputError:
            return False
        return export.record.status == "passed" and export.record.certificate is not None

    def _takes_any(self, runtime: Runtime, precision: Precision) -> Path:
        """Return the export that takes any size, or where it would be; the split one in fp32 comes first."""
        parts = self.split() if runtime.runs_split and precision.name == "fp32" else None
        return parts[1] if parts else self.path_for(runtime, precision)

    def _sizes(self, path: Path, runtime: Runtime, precision: Precision) -> Fixed | None:
        """Return the sizes that an export is fixed to, from its name; None for a name of another kind of export."""
        named = {axis: int(size) for axis, size in re.findall(r"\.([bt])(\d+)(?=\.)", path.name)}
        fixed = Fixed(named.get("b"), named.get("t"))
        return fixed if path == self.path_for(runtime, precision, fixed) else None


def exports_of(run: Run) -> ExportsFolder:
    """Return the folder of a run's exports, there or not."""
    return ExportsFolder(run.path / EXPORTS)


def is_split(path: Path) -> bool:
    """True of a model with its vision tower apart, which lies beside ``path``."""
    return path.name in (REST, TEXT)


def count_bytes(path: Path) -> int:
    """Count the bytes of the export ``path`` and of the files that belong to it, without JSON records."""
    return sum(file.stat().st_size for file in _files_of(path) if file.suffix != ".json")


def remove_export(path: Path, record: Parity) -> None:
    """Remove all files of the export ``path`` but its record."""
    for name in {path.name, *record.sha256}:
        for file in _files_of(path.with_name(name)):
            file.unlink()


def _files_of(path: Path) -> list[Path]:
    """``path`` and the files that belong to it: weights, metadata; not its record."""
    named_after = {file for file in path.parent.glob(f"{path.name}*") if not file.name.endswith(RECORD)}
    return sorted(named_after | {part for part in parts_of(path) if part.exists()})

"""What a file or folder is that is no checkpoint: known by its first bytes, its name or its members."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from compressor.errors import InputError, Problem, input_error
from compressor.files import TUNED_FILE, read_settings

WHOLE = "a checkpoint as it was saved, whole"
SAVE = (
    'save its weights where it was made: torch.save(model.state_dict(), "weights.pt"), or '
    'model.save_pretrained("folder") with transformers'
)

_HEAD_BYTES = 512
_DOWNLOAD = "download the file itself: git lfs pull, or hf download NAME"
_CONVERT = "give the PyTorch checkpoint that it was made from"
_FROM_JAX = 'convert it with transformers 4: AutoModel....from_pretrained(folder, from_{}=True).save_pretrained("new")'
_UNPACK = "unpack it and give the folder, or the checkpoint in it"
_GATHER = "gather the weights where they were saved: {}; then give the file that it writes"
_ZERO = _GATHER.format("python zero_to_fp32.py . pytorch_model.bin")
_MERGE = _GATHER.format("accelerate merge-weights FOLDER OUT")


@dataclass(frozen=True)
class ForeignFormat:
    """A format of files that das does not read.

    Attributes:
        code: of the problem.
        what: for the message, behind "FILE is".
        fix: what the user can do.
        starts: how such files start, in lower case: one of these.
        names: how they are called: patterns of which one fits.
        member: a pattern that one entry of the zip archive fits.

    """

    code: str
    what: str
    fix: str
    starts: tuple[bytes, ...] = ()
    names: tuple[str, ...] = ()
    member: str = ""


# The first that fits counts.
FILES = (
    ForeignFormat(
        "git-lfs-pointer",
        "a Git LFS pointer, in the place of the file it stands for",
        _DOWNLOAD,
        (b"version https://",),
    ),
    ForeignFormat(
        "page-instead-of-file",
        "a web page or an error message of a server, saved in the place of the file",
        "download it again; a page comes where a login, a licence or another address is asked for",
        (b"<!doctype", b"<html", b"<?xml", b'{"error', b'{"message'),
    ),
    ForeignFormat("other-format", "an HDF5 file of TensorFlow or Keras", _FROM_JAX.format("tf"), (b"\x89hdf\r\n",)),
    ForeignFormat("other-format", "a GGUF file of llama.cpp", _CONVERT, (b"gguf",)),
    ForeignFormat("other-format", "an ONNX graph", _CONVERT, names=("*.onnx",)),
    ForeignFormat("other-format", "a file of Flax", _FROM_JAX.format("flax"), names=("*.msgpack",)),
    ForeignFormat(
        "other-format",
        "a checkpoint of TensorFlow",
        _FROM_JAX.format("tf"),
        names=("*.ckpt.index", "*.ckpt.meta", "*.data-?????-of-?????", "*.pb", "*.h5", "*.keras"),
    ),
    ForeignFormat("other-format", "a TorchScript archive", SAVE, member="*/constants.pkl"),
    ForeignFormat("other-format", "a program of torch.export", SAVE, member="*archive_format"),
    ForeignFormat("other-format", "arrays of NumPy", SAVE, (b"\x93numpy",), member="*.npy"),
    ForeignFormat("other-format", "a model of Keras", _FROM_JAX.format("tf"), member="*.weights.h5"),
    ForeignFormat("sharded-checkpoint", "one shard of a distributed checkpoint", _MERGE, names=("*.distcp",)),
    *(
        ForeignFormat("archive-not-unpacked", "a zip archive of files, not a checkpoint", _UNPACK, member=f"*{name}")
        for name in ("config.json", ".safetensors", ".ckpt", ".bin", ".pt", ".pth")
    ),
    ForeignFormat(
        "archive-not-unpacked",
        "a packed archive",
        _UNPACK,
        (b"\x1f\x8b", b"bzh", b"\xfd7zxz", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd", b"rar!"),
        ("*.tar",),
    ),
)
# Weights that PyTorch would read, though they are a part only.
_ZERO_SHARD = ForeignFormat("sharded-checkpoint", "one shard of a checkpoint of DeepSpeed ZeRO", _ZERO)
_PICKLE = ForeignFormat(
    "other-format",
    "a pickle that torch.save did not write",
    'save it where it was made: torch.save(state_dict, "weights.pt")',
)
_STARTS_OF_TORCH = b"\x80\x02\x8a\nl\xfc\x9cf\xf9 j\xa8p\x19."  # the magic number of torch.save before 1.6, lower case

# Of folders without weights that das reads: what lies in them.
FOLDERS = (
    ForeignFormat(
        "sharded-checkpoint", "a checkpoint of DeepSpeed in shards", _ZERO, names=("zero_to_fp32.py", "global_step*")
    ),
    ForeignFormat(
        "sharded-checkpoint", "a distributed checkpoint in shards", _MERGE, names=("*.distcp", "pytorch_model_fsdp_?")
    ),
    *(kind for kind in FILES if kind.names),
)


def refuse_file(code: str, path: Path, found: str, fix: str = "copy or download it again") -> InputError:
    """Return the error for a file that cannot be read as a checkpoint: what it is, where that is known.

    Args:
        code: of the problem where it is not known.
        path: the file.
        found: what is wrong with it, likewise.
        fix: what to do, likewise.
    """
    kind = describe_file(path)
    if kind is None:
        return input_error(code, f"{path}: {found}", WHOLE, fix)
    return input_error(kind.code, f"{path} is {kind.what}", WHOLE, kind.fix)


def describe_file(path: Path) -> ForeignFormat | None:
    """Return what kind of file this is, if it is a known one that das does not read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).lower()
        members = _members(path) if zipfile.is_zipfile(path) else []
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
    head_of_text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for kind in FILES:
        named = any(fnmatch(path.name, pattern) for pattern in kind.names)
        started = any(text.startswith(start) for start in kind.starts for text in (head, head_of_text))
        if named or started or (kind.member and any(fnmatch(name, kind.member) for name in members)):
            return kind
    return _PICKLE if head.startswith(b"\x80") and not head.startswith(_STARTS_OF_TORCH) else None


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def refuse_part(path: Path) -> None:
    """Refuse a file that is readable and holds a part of the weights only.

    Raises:
        InputError: a shard of DeepSpeed ZeRO, or one of several files of weights.
    """
    if re.fullmatch(r".*zero_pp_rank_\d+.*\.pt", path.name):
        raise input_error(_ZERO_SHARD.code, f"{path} is {_ZERO_SHARD.what}", WHOLE, _ZERO_SHARD.fix)
    numbered = re.fullmatch(r".*-\d+-of-0*(\d+)\.(safetensors|bin)", path.name)
    if numbered and numbered[1] != "1":
        raise input_error(
            "shard-alone", f"{path} is one of {numbered[1]} files of weights", WHOLE, f"give the folder: {path.parent}"
        )


def describe_folder(folder: Path) -> Problem | None:
    """Return what a folder without weights holds in their place, if that is known."""
    names = sorted(entry.name for entry in folder.iterdir())
    for kind in FOLDERS:
        if held := next((name for name in names for pattern in kind.names if fnmatch(name, pattern)), None):
            return Problem(
                kind.code, f"{folder} has no weights of PyTorch; {held} in it is {kind.what}", WHOLE, kind.fix
            )
    saved = sorted((name for name in names if re.fullmatch(r"checkpoint-\d+", name)), key=lambda n: int(n[11:]))
    if saved:
        return Problem(
            "folder-of-checkpoints",
            f"{folder} holds checkpoints of one training: {', '.join(saved)}",
            "one of them",
            f"give one of them, such as {folder / saved[-1]}",
        )
    return None


def refuse_tuned(folder: Path) -> None:
    """Refuse what das tune left where a checkpoint or a run belongs.

    Raises:
        InputError: it is such a folder.
    """
    if (folder / TUNED_FILE).is_file():
        raise input_error(
            "tuned-instead-of-model",
            f"{folder} is a folder of das tune: it holds what was trained, not a whole model",
            "a checkpoint, or a run of das compress",
            f'in Python: model = das.load("{folder}"); {TUNED_FILE} has score and costs, and names the checkpoint',
        )


def refuse_adapter(folder: Path, settings: str) -> None:
    """Refuse a folder in which peft saved an adapter, with or without the weights that it belongs to.

    Raises:
        InputError: there is one, ``settings`` by name.
    """
    if not (folder / settings).is_file():
        return
    try:
        base = read_settings(folder / settings).get("base_model_name_or_path")
    except (OSError, ValueError):
        base = None
    raise input_error(
        "adapter-not-merged",
        f"{folder} holds an adapter of peft ({settings}), made for {base or 'a model that it does not name'}",
        "weights into which the adapter is merged",
        'load it with peft, then model.merge_and_unload().save_pretrained("new") and the tokenizer\'s save_pretrained',
    )

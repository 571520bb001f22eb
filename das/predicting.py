"""One question, one image, any runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.data.images import decode_image
from compressor.errors import input_error, usage_error
from compressor.families import FAMILIES
from compressor.runs import Run


def answers(run: Run, image: Path, question: str, runtime: str, top: int) -> list[dict[str, Any]]:
    """The ``top`` most likely answers with their probabilities (sigmoid of the logits, as VQA is trained).

    Raises:
        UsageError: no such runtime, or nothing to print.
        InputError: no such image, or the run has not been exported to that runtime.
    """
    if top < 1:
        raise usage_error(f"--top {top}", "at least 1 answer", "--top 3")
    if not image.is_file():
        raise input_error(f"no file {image}", "an image", "--image FILE")
    picture = decode_image(image.read_bytes(), str(image))
    inputs = run.transforms()([question], [picture])
    with _runner(run, runtime) as runner:
        logits = runner.run({name: inputs[name] for name in FAMILIES[run.manifest.family].inputs})[0]
    labels, probabilities = run.labels(), logits.sigmoid()
    best = probabilities.topk(min(top, len(labels)))
    return [
        {"answer": labels[int(number)], "probability": float(value)}
        for value, number in zip(best.values, best.indices, strict=True)
    ]


def _runner(run: Run, runtime: str) -> Any:
    from exporters.runners import OnnxRunner, TensorRTRunner, TorchRunner

    exports = run.path / "exports"
    if runtime == "torch":
        return TorchRunner(run.load_slim(), "cpu")
    if runtime == "onnx":
        return OnnxRunner(_exported(exports, "*.onnx", "--onnx"))
    if runtime == "trt":
        return TensorRTRunner(_exported(exports, "*.plan", "--trt"))
    raise usage_error(f"--runtime {runtime}", "torch, onnx or trt", "--runtime torch")


def _exported(folder: Path, pattern: str, option: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.name.startswith("model."))
    if not found:
        raise input_error(f"no {pattern} in {folder}", "an exported model", f"das export {folder.parent} {option}")
    return found[0]

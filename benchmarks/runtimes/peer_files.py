"""What others make of a full model for CPUs: the files that peers of das would deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

CALIBRATION = 32  # samples

Inputs = Mapping[str, Tensor]


def openvino_nncf(onnx: Path, samples: Inputs, path: Path) -> None:
    """OpenVINO's conversion of an ONNX file, rounded by NNCF as its documentation has it for transformers."""
    import nncf
    import openvino

    model = openvino.convert_model(onnx)
    names = {port.any_name for port in model.inputs}
    arrays = [{name: row for name, row in one.items() if name in names} for one in _rows(samples)]
    kind = nncf.ModelType.TRANSFORMER
    rounded = nncf.quantize(model, nncf.Dataset(arrays), model_type=kind, subset_size=len(arrays))
    openvino.save_model(rounded, path, compress_to_fp16=False)


def transformers_onnx(model: Any, samples: Inputs, path: Path) -> None:
    """The exporter of transformers to ONNX, in fp32."""
    from transformers.exporters import OnnxConfig, OnnxExporter

    exported = OnnxExporter().export(model, _traced(samples), OnnxConfig(dynamic=True))
    OnnxExporter.save_program(exported.program, path)


def transformers_onnx_int8(model: Any, samples: Inputs, path: Path) -> None:
    """The exporter of transformers to ONNX with its quantiser, with dynamic scales as das's own file for CPUs."""
    from transformers.exporters import OnnxConfig, OnnxExporter, OnnxRuntimeQuantizer
    from transformers.exporters.quantizers import OnnxRuntimeDynamicConfig

    config = OnnxConfig(dynamic=True, quantizer=OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig()))
    OnnxExporter.save_program(OnnxExporter().export(model, _traced(samples), config).program, path)


def transformers_openvino_int8(model: Any, samples: Inputs, path: Path) -> None:
    """The exporter of transformers to OpenVINO with its quantiser, NNCF."""
    import nncf
    from transformers.exporters import NNCFOpenVINOQuantizer, NNCFQuantizationConfig, OpenVINOConfig, OpenVINOExporter

    given = [{name: rows[number : number + 1] for name, rows in samples.items()} for number in _numbers(samples)]
    quantizer = NNCFOpenVINOQuantizer(NNCFQuantizationConfig(model_type=nncf.ModelType.TRANSFORMER), given)
    config = OpenVINOConfig(dynamic=True, quantizer=quantizer)
    OpenVINOExporter.save_program(OpenVINOExporter().export(model, _traced(samples), config).program, path)


EXPORTERS: Mapping[str, tuple[str, str, Callable[[Any, Inputs, Path], None]]] = {
    "transformers' exporter, ONNX Runtime int8": ("onnxruntime", "transformers.int8.onnx", transformers_onnx_int8),
    "transformers' exporter, OpenVINO int8": ("openvino", "transformers.xml", transformers_openvino_int8),
}
"""What transformers makes of its own models: the runtime that executes it, a file name, and what writes it."""


def _traced(samples: Inputs) -> dict[str, Tensor]:
    """Return a batch of two, so that no axis is taken for one of size 1."""
    return {name: rows[:2] for name, rows in samples.items()}


def _numbers(samples: Inputs) -> range:
    return range(min(CALIBRATION, len(next(iter(samples.values())))))


def _rows(samples: Inputs) -> Iterator[dict[str, Any]]:
    return ({name: rows[at : at + 1].numpy() for name, rows in samples.items()} for at in _numbers(samples))

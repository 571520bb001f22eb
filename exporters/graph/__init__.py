"""The ONNX graph: trace, axes, precision, attention, quantisation."""

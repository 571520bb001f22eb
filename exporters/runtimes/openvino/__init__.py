"""OpenVINO: its declaration, the files that it executes, and the runner behind them."""

from exporters.runtimes.openvino.openvino_runtime import RUNTIME

__all__ = ["RUNTIME"]

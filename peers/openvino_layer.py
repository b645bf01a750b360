"""The layer in OpenVINO."""

import numpy as np

from moe.implementations.contract import installed
from moe.problem import Float32Array, Weights
from peers.onnx_graph import build_graph


class OpenvinoLayer:
    """OpenVINO on the CPU: the graph of plain operators that ONNX Runtime gets too, tokens sorted by expert.

    Weights are packed and ReLU is fused when the graph is compiled, in prepare; `f32`, since OpenVINO would choose
    bfloat16 where a processor has it; `LATENCY`, one forward at a time on all threads. An output of the graph lies in
    OpenVINO's memory and is copied. Numbers of rows that change from forward to forward cost some preparation anew,
    which shows with many small experts.
    """

    name = "openvino"
    description = "OpenVINO, a graph by expert"

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether OpenVINO is installed, and what models are built with."""
        return installed("openvino", "onnx")

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        import openvino as ov

        core = ov.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(core.read_model(build_graph(weights, top_k)), "CPU", settings)
        self.threads: int = compiled.get_property("INFERENCE_NUM_THREADS")
        self.request = compiled.create_infer_request()

    def forward(self, x: Float32Array) -> Float32Array:
        """x (T, d) → y (T, d)."""
        if not len(x):
            return np.empty_like(x)
        return np.array(self.request.infer([x], share_inputs=True, share_outputs=True)[0])

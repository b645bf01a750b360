"""The layer in ONNX Runtime."""

import numpy as np

from moe.implementations.contract import check_option, installed
from moe.problem import Float32Array, Weights
from peers.onnx_graph import build_graph, build_operator

FORMS = {"operator": build_operator, "graph": build_graph}


class OnnxRuntimeLayer:
    """ONNX Runtime on the CPU: `com.microsoft.MoE`, one operator from logits to the weighted sum.

    No Python runs between experts. The operator gives its threads whole experts, so that uneven routing, or fewer
    experts than threads, leaves some of them idle. `form=graph` has ONNX's own operators instead, tokens sorted by
    expert: weights are packed in prepare, and all threads share each product.

    Threads wait for work in a loop, ONNX Runtime's default, but only while a forward runs.
    """

    name = "onnxruntime"
    description = "ONNX Runtime, its operator for experts"

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether ONNX Runtime is installed, and what models are built with."""
        return installed("onnxruntime", "onnx")

    def __init__(self, weights: Weights, *, top_k: int, threads: int, form: str = "operator") -> None:
        import onnxruntime as ort

        build = FORMS[check_option("form", form, tuple(FORMS))]

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = ort.InferenceSession(build(weights, top_k), options, providers=["CPUExecutionProvider"])
        self.threads: int = self.session.get_session_options().intra_op_num_threads

    def forward(self, x: Float32Array) -> Float32Array:
        """x (T, d) → y (T, d)."""
        if not len(x):
            return np.empty_like(x)
        y: Float32Array = self.session.run(None, {"x": x})[0]
        return y

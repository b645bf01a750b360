"""The layer in PyTorch, its experts compiled."""

from typing import Any

from moe.implementations.contract import EVERY_KNOB, NotAvailableError
from moe.implementations.torch_common import SortedByExpert, TorchWeights
from moe.implementations.torch_experts import by_expert
from moe.problem import Weights

RECOMPILES = 200


class TorchCompileLayer(SortedByExpert):
    """PyTorch: tokens sorted by expert, an expert's products compiled by `torch.compile` for any number of rows.

    The whole layer would be cut in two where the numbers of tokens leave the graph, and be no faster. Compiling is
    part of prepare; it needs a C++ compiler.
    """

    name = "torch-compile"
    description = "PyTorch, sorted by expert, torch.compile"
    knobs = EVERY_KNOB

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        import torch
        from torch._dynamo import config as dynamo
        from torch._inductor import config
        from torch._inductor.exc import InductorError, InvalidCxxCompiler

        # Compiling processes would outlive prepare and be in the way of what is timed.
        config.compile_threads = 1
        # One function serves experts of every form and size in a process, and none of them may fall back to eager.
        dynamo.recompile_limit, dynamo.fail_on_recompile_limit_hit = RECOMPILES, True
        self.native = TorchWeights(weights, threads=threads)
        self.top_k = top_k
        self.parts = self.native.parts()
        self.expert = torch.compile(self.native.expert, dynamic=True)
        try:
            with torch.inference_mode():
                for rows in (2, 1):  # one row is a case of its own
                    self.expert(torch.zeros(rows, weights.d_model, dtype=self.native.dtype), *self.parts[0])
        except (InductorError, InvalidCxxCompiler) as error:
            raise NotAvailableError(f"torch.compile failed here: {error}") from error

    def _products(self, rows: Any, counts: list[int]) -> Any:
        return by_expert(self.expert, rows, counts, self.parts)

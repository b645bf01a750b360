"""The layer as Hugging Face's transformers has it in its models."""

from functools import partial
from importlib import import_module
from typing import Any

from moe import bfloat16
from moe.form import ROUTER_PRECISION
from moe.implementations.contract import EVERY_KNOB, NotAvailableError, check_option, installed
from moe.implementations.torch_common import OnTheCpu, TorchWeights
from moe.implementations.torch_grouped_layer import require_whole_rows
from moe.implementations.torch_router import route
from moe.problem import Weights
from moe.weights import ROUTER
from peers.transformers_blocks import MODEL_TYPES, Family, family_of, router_state, shared_state

IMPLEMENTATIONS = ("grouped_mm", "eager", "batched_mm")
ROUTERS = ("layer", "own")
ACTIVATIONS = {"swiglu": "silu", "swiglu-oai": "silu", "geglu": "gelu"}  # where it is not the same name


class TransformersLayer(OnTheCpu):
    """transformers: the block of the family of models whose experts these are, with this project's router before it.

    Mixtral's block for gated experts, Qwen2-MoE's where a gated shared expert stands beside them and DeepSeek-V3's
    where that has no gate, GPT-OSS's, Llama 4's, and Nemotron-H's for experts of two matrices. Routers differ more
    than experts do, and in bfloat16 most choose in that precision, which gives some tokens other experts than the
    layer is defined with: here they get the layer's. With `router=own` the block's own chooses, where a family has
    one that computes as the layer's does: it is what a model does, and its choice is judged by its precision.

    `experts` is how the block computes its experts: `grouped_mm`, the library's own choice, `eager`, a loop, or
    `batched_mm`, which copies an expert's weights for every token that takes it. Llama 4's has a form of its own.
    """

    name = "transformers"
    description = "transformers, a model's own experts"
    knobs = EVERY_KNOB
    router_precision = ROUTER_PRECISION

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether transformers is installed."""
        return installed("transformers")

    def __init__(
        self, weights: Weights, *, top_k: int, threads: int, experts: str = "grouped_mm", router: str = "layer"
    ) -> None:
        import torch

        check_option("experts", experts, IMPLEMENTATIONS)
        own = check_option("router", router, ROUTERS) == "own"
        family = family_of(weights, own_router=own)
        if experts == "grouped_mm" and family.chooses:
            require_whole_rows(weights)
        self.top_k = top_k
        self.native = TorchWeights(weights, threads=threads)
        self.note = f"{family.title}'s block and router" if own else f"{family.title}'s block"
        if own and self.native.is_half and not family.wide:
            _require_held(weights)
            self.router_precision = "bfloat16"
        module = import_module(f"transformers.models.{family.package}.modeling_{family.package}")
        config = _config_of(family, weights, top_k, (family.routes(weights) or {}) if own else {})
        config._experts_implementation = experts
        with torch.device("meta"):  # weights come next
            block = getattr(module, family.block)(config)
            if family.shared:
                _replace(block, family.shared, _shared_of(family, module, config, weights))
        tensors = self.native.tensors
        state = family.state(tensors) | shared_state(family, tensors)
        if own:
            shapes = block.state_dict()
            chosen = router_state(family, tensors, self.native.dtype)
            state |= {name: tensor.reshape(shapes[name].shape) for name, tensor in chosen.items()}
        else:
            _replace(block, family.router, partial(_routed, self.native, top_k, family.dense))
        block.load_state_dict(state, assign=True)
        self.block = block.eval()
        for name in set(tensors) - set(ROUTER):  # the block has them now
            del tensors[name]

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        if not len(x):
            return torch.empty_like(x)
        with torch.inference_mode():
            y = self.block(x[None])
            return (y[0] if isinstance(y, tuple) else y).reshape(x.shape)


def _config_of(family: Family, weights: Weights, top_k: int, routing: dict[str, Any]) -> Any:
    """The family's configuration: sizes, its activation, and what its own router does."""
    from transformers import AutoConfig

    activation = ACTIVATIONS.get(weights.form.expert, weights.form.expert)
    sizes = {"hidden_size": weights.d_model, family.d_ff: weights.d_ff, "num_experts_per_tok": top_k}
    counts = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), weights.num_experts)
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    acts = {"hidden_act": activation, "mlp_hidden_act": activation}
    settings = sizes | counts | heads | acts | routing
    return AutoConfig.for_model(MODEL_TYPES.get(family.package, family.package), **settings)


def _require_held(weights: Weights) -> None:
    """Raise NotAvailableError for a router whose weights its own precision, bfloat16, would change."""
    arrays = weights.arrays()
    for name in ("gate", "gate_bias"):
        if name in arrays and not bfloat16.is_held(arrays[name]):
            raise NotAvailableError(f"its own router is bfloat16, and {name} is float32")


def _shared_of(family: Family, module: Any, config: Any, weights: Weights) -> Any:
    """The shared expert at its width, in place of the block's own; what adds 0, where there is none."""
    if not weights.form.shared_d_ff:
        return lambda x: 0
    return getattr(module, family.mlp)(config, intermediate_size=weights.form.shared_d_ff)


def _replace(block: Any, part: str, other: Any) -> None:
    delattr(block, part)
    setattr(block, part, other)


def _routed(native: TorchWeights, top_k: int, dense: bool, x: Any, *_: Any) -> tuple[Any, ...]:
    """What a block's own router gives, from this project's: beside it there are logits, which no block looks at."""
    x = x.reshape(-1, x.shape[-1])
    experts, weights = route(x, native, top_k)
    if not dense:
        return None, weights, experts
    scores = weights.new_zeros(len(x), native.gate.shape[1]).scatter_(1, experts, weights)
    return scores.to(x.dtype), None

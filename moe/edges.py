"""The edges of the layer's definition, as small problems that every implementation has to get right."""

from dataclasses import replace
from typing import Any

import numpy as np

from moe.config import MoEConfig
from moe.problem import Float32Array, Problem, make_problem

UNSCALED: dict[str, Any] = {"expert": "swiglu", "renormalise": False}
CORRECTED: dict[str, Any] = {"score": "sigmoid", "select_bias": True, "scale": 2.5, "shared_d_ff": 24}
DEEPSEEK = CORRECTED | {"expert": "swiglu", "groups": 4, "groups_kept": 2}
GPT_OSS: dict[str, Any] = {"expert": "swiglu-oai", "biases": True}
HALF: dict[str, Any] = {"precision": "bfloat16"}
# Layers of published models, and others that bring in what those leave out: together they turn every knob.
FORMS: dict[str, dict[str, Any]] = {
    "switch": {"renormalise": False},
    "mixtral": {"expert": "swiglu"},
    "olmoe": UNSCALED,
    "qwen2-moe": UNSCALED | {"shared_d_ff": 24, "shared_gate": True},
    "deepseek-v2": UNSCALED | {"scale": 16.0, "shared_d_ff": 24, "groups": 4, "groups_kept": 2, "group_score": "max"},
    "deepseek-v3": DEEPSEEK,
    "ernie-4.5": {"expert": "swiglu", "select_bias": True, "shared_d_ff": 24},
    "gpt-oss": GPT_OSS,
    "llama4": UNSCALED | {"score": "sigmoid", "weight_on": "input", "shared_d_ff": 24},
    "nemotron-h": CORRECTED | {"expert": "relu2"},
    "gelu": {"expert": "gelu", "biases": True, "weight_on": "input"},
    "geglu": {"expert": "geglu", "biases": True, "score": "sigmoid", "shared_d_ff": 24, "shared_gate": True},
    "bfloat16": HALF,
    "v3 in bfloat16": DEEPSEEK | HALF,
    "oai in bfloat16": GPT_OSS | HALF,
}
PLAIN = "plain"  # the first of each form's problems: what refuses it refuses the form


def edge_problems() -> dict[str, Problem]:
    """Every edge of the published layer by name, the same on every machine."""
    config = MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=4, top_k=2)
    plain = make_problem(config)
    return {
        "no tokens": make_problem(config.with_tokens(0)),
        "one token": make_problem(config.with_tokens(1)),
        "all sizes 1": make_problem(MoEConfig(tokens=1, d_model=1, d_ff=1, num_experts=1, top_k=1)),
        "one expert": make_problem(MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=1, top_k=1)),
        "every expert": make_problem(MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=4, top_k=4)),
        # 5 and 3 are below the width of every vector unit, 37, 53 and 101 multiples of none.
        "odd sizes": make_problem(MoEConfig(tokens=37, d_model=53, d_ff=101, num_experts=5, top_k=3)),
        "narrow": make_problem(MoEConfig(tokens=13, d_model=3, d_ff=5, num_experts=7, top_k=2)),
        "many experts": make_problem(MoEConfig(tokens=5, d_model=8, d_ff=8, num_experts=70, top_k=9)),
        "idle expert": _with_logits(plain, [3.0, -30.0, 2.0, 1.0]),
        "all on one expert": replace(_with_logits(plain, [0.0, 0.0, 9.0, 0.0]), top_k=1),
        "equal logits": _with_logits(plain, [0.0, 0.0, 0.0, 0.0]),
        "two equal logits": _with_logits(plain, [1.0, 2.0, 0.0, 1.0]),
        "logits of 1e4": _with_logits(plain, [1e4, -1e4, 9999.0, -9999.0]),
        **_not_finite(plain),
        "NaN in w2": with_weight(plain, "w2", (2, 13, 7), np.nan),
    }


def form_problems(form: str) -> dict[str, Problem]:
    """The edges of one of FORMS by name: what its knobs add to those of the published layer."""
    config = MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=8, top_k=3, **FORMS[form])
    odd: dict[str, Any] = {"tokens": 13, "d_model": 19, "d_ff": 21, "num_experts": 12, "top_k": 4}
    shared = 11 if config.shared_d_ff else 0
    plain = make_problem(config)
    equal = _with_logits(plain, [0.0] * 8)
    problems = {
        PLAIN: plain,
        "no tokens": make_problem(config.with_tokens(0)),
        "one token": make_problem(config.with_tokens(1)),
        "odd sizes": make_problem(replace(config, **odd, shared_d_ff=shared)),
        "every expert": make_problem(replace(config, groups_kept=config.groups, top_k=config.num_experts)),
        "one expert": make_problem(replace(config, num_experts=1, top_k=1, groups=1, groups_kept=1)),
        "equal scores": equal,
        "far apart": _with_logits(plain, [30.0, -30.0, 20.0, -20.0, 10.0, -10.0, 5.0, -5.0]),
        "idle experts": _idle(plain),
        "large": Problem(plain.weights, 8 * plain.x, plain.top_k),  # of swiglu-oai past both clamps
        **_not_finite(plain),
    }
    if config.groups > 1:
        problems["all of one group"] = make_problem(replace(config, groups=2, groups_kept=1, top_k=4))
    if config.select_bias:
        # Two are ahead, and the third of those that are left is the first of them.
        bias = np.array([0, 0.125, 0, 0, 0.125, 0, 0, 0], np.float32)
        problems["equal sums"] = _with(equal, select_bias=bias)
        problems["NaN in select_bias"] = with_weight(plain, "select_bias", (5,), np.nan)
    return problems


def _not_finite(problem: Problem) -> dict[str, Problem]:
    return {
        "NaN in a token": _with_value(problem, np.nan),
        "Inf in a token": _with_value(problem, np.inf),
        "-Inf in a token": _with_value(problem, -np.inf),
        "NaN in the gate": with_weight(problem, "gate", (7, 2), np.nan),
        "NaN in w1": with_weight(problem, "w1", (2, 7, 13), np.nan),
    }


def _idle(problem: Problem) -> Problem:
    """The problem with two experts that no token takes, and whose biases would be seen in any output."""
    idle = _with_logits(problem, [0.0, -30.0, 1.0, 2.0, -30.0, 1.0, 2.0, 0.0])
    changed = {}
    for name in ("b1", "b2", "b3"):
        if name in idle.weights.arrays():
            changed[name] = idle.weights.arrays()[name].copy()
            changed[name][[1, 4]] = 1000.0
    return _with(idle, **changed)


def _with(problem: Problem, **arrays: Any) -> Problem:
    return Problem(replace(problem.weights, **arrays), problem.x, problem.top_k)


def _with_logits(problem: Problem, logits: list[float]) -> Problem:
    """The problem with the same logits for every token, exact in float32: x[:, 0] is 1 and selects them.

    What is added to logits and scores is 0.
    """
    x = problem.x.copy()
    x[:, 0] = 1.0
    gate = np.zeros_like(problem.weights.gate)
    gate[0] = logits
    there = {name: array for name, array in problem.weights.arrays().items() if name in ("gate_bias", "select_bias")}
    zeros = {name: np.zeros_like(array) for name, array in there.items()}
    return Problem(_with(problem, gate=gate, **zeros).weights, x, problem.top_k)


def with_weight(problem: Problem, name: str, place: tuple[int, ...], value: float) -> Problem:
    """The problem with `value` at one place of one of its weights."""
    array = problem.weights.arrays()[name].copy()
    array[place] = value
    return _with(problem, **{name: array})


def _with_value(problem: Problem, value: float) -> Problem:
    """The problem with `value` in the first, a middle and the last token, and the others as they were."""
    x: Float32Array = problem.x.copy()
    x[0, 0] = x[4, 7] = x[8, -1] = value
    return Problem(problem.weights, x, problem.top_k)

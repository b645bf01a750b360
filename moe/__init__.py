"""One Mixture-of-Experts layer in Python, NumPy, PyTorch and Mojo, measured side by side."""

from moe.config import PRESETS, MoEConfig
from moe.implementations import create
from moe.problem import Problem, Weights, make_problem

__all__ = ["PRESETS", "MoEConfig", "Problem", "Weights", "create", "make_problem"]

"""Problems that many tests share and their references, each made once, and how a layer agrees with them."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache, partial

import moe
from moe.check import References, check_layer
from moe.edges import edge_problems, form_problems
from moe.parity import Parity

# That no implementation changes what it is given is tested too.
the_edges = cache(edge_problems)
edges_of = cache(form_problems)
the_problem = cache(moe.make_problem)
the_references = References()


def layer_for(name: str, problem: moe.Problem, threads: int = 1) -> moe.implementations.Layer:
    return moe.create(name, problem.weights, top_k=problem.top_k, threads=threads)


def parity_of(name: str, problem: moe.Problem, key: Hashable, threads: int = 1) -> Parity:
    """How a new layer compares with the reference, which is computed once for all that share a problem's key."""
    return check_layer(layer_for(name, problem, threads), problem, partial(the_references.of, key))

"""Which experts a token takes and with what weights, and the tokens of each expert in a list."""

from std.math import exp

from vectors import Floats, Ints


def choose_experts(logits: Floats, num_experts: Int, top_k: Int, experts: Ints, weights: Floats):
    """Picks one token's experts: its k largest logits, a tie to the lower number.

    The weights are the softmax over all experts divided by the chosen ones' sum, which is the softmax over the
    chosen alone. Logits that are NaN or infinite give NaN weights and still k different experts.

    Args:
        logits: (num_experts,).
        num_experts: E.
        top_k: k, at most E.
        experts: (top_k,), written in order of falling logits.
        weights: (top_k,), written.
    """
    for slot in range(top_k):
        var best = -1
        for expert in range(num_experts):
            if best >= 0 and not logits[unsafe_offset=expert] > logits[unsafe_offset=best]:
                continue
            if not _taken(experts, slot, expert):
                best = expert
        experts[unsafe_offset=slot] = Int32(best)
    var largest = logits[unsafe_offset=Int(experts[unsafe_offset=0])]
    var total = Float32(0)
    for slot in range(top_k):
        var below = logits[unsafe_offset=Int(experts[unsafe_offset=slot])] - largest
        # Mojo's exp clamps its argument, and a NaN with it; a NaN product brings that back.
        var weight = exp(below) if below == below else below
        weights[unsafe_offset=slot] = weight
        total += weight
    for slot in range(top_k):
        weights[unsafe_offset=slot] /= total


@always_inline
def _taken(experts: Ints, count: Int, expert: Int) -> Bool:
    for slot in range(count):
        if Int(experts[unsafe_offset=slot]) == expert:
            return True
    return False


def sort_by_expert(experts: Ints, entries: Int, num_experts: Int, starts: Ints, sorted: Ints):
    """Lists the entries (token · k + slot) of each expert in order of tokens: a counting sort.

    Args:
        experts: (entries,), the expert of each entry.
        entries: T · k.
        num_experts: E.
        starts: (num_experts + 1,), written: where each expert's list begins, and the end of the last.
        sorted: (entries,), written.
    """
    for expert in range(num_experts + 1):
        starts[unsafe_offset=expert] = 0
    for entry in range(entries):
        starts[unsafe_offset=Int(experts[unsafe_offset=entry]) + 1] += 1
    for expert in range(num_experts):
        starts[unsafe_offset=expert + 1] += starts[unsafe_offset=expert]
    # Each start moves through its list, and so ends up as the next one's.
    for entry in range(entries):
        var expert = Int(experts[unsafe_offset=entry])
        sorted[unsafe_offset=Int(starts[unsafe_offset=expert])] = Int32(entry)
        starts[unsafe_offset=expert] += 1
    for expert in range(num_experts, 0, -1):
        starts[unsafe_offset=expert] = starts[unsafe_offset=expert - 1]
    starts[unsafe_offset=0] = 0

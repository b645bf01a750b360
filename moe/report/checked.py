"""What a check prints, line by line, and how it went."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from moe.report.text import threads_text

if TYPE_CHECKING:
    from moe.check import Check


class Checked:
    """How a check has gone so far: how many results of each status there are, and which implementation had the last.

    An error in every forward is said once, and counted at the end.
    """

    def __init__(self) -> None:
        self.counts = {"ok": 0, "failed": 0, "not_run": 0}
        self.last = ""
        self._alike = Counter[tuple[str, str]]()

    @property
    def went_well(self) -> bool:
        """Whether something agreed, and all that ran."""
        return self.counts["ok"] > 0 and not self.counts["failed"]

    def lines(self, results: "Iterable[Check]") -> Iterator[str]:
        """The results as they come, and then what they add up to."""
        for result in results:
            self.counts[result.status] += 1
            self.last = result.implementation
            self._alike[self.last, result.note] += result.status == "failed"
            if self._alike[self.last, result.note] > 1:
                continue
            where = f"{result.implementation:12} {threads_text(result.threads):10} {result.problem:18}"
            yield f"{where} {result.status.replace('_', ' '):8} {result.note}"
        for (name, note), count in self._alike.items():
            if count > 1:
                yield f"{name}: {count - 1} more failed alike: {note}"
        ok, failed, not_run = self.counts.values()
        yield f"{ok} agree with the reference, {failed} failed, {not_run} not run"

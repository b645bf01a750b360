"""From samples to findings: intervals, ratios, and what a run can resolve."""

from moe.analysis.changes import Change, compare_runs
from moe.analysis.limits import limits_of
from moe.analysis.statistics import Interval, median_interval, ratio_interval
from moe.analysis.summary import Ahead, Row, Summary, summarise, tokens_ratio

__all__ = [
    "Ahead",
    "Change",
    "Interval",
    "Row",
    "Summary",
    "compare_runs",
    "limits_of",
    "median_interval",
    "ratio_interval",
    "summarise",
    "tokens_ratio",
]

"""From samples to findings: intervals, ratios, and what a run can resolve."""

from moe.analysis.limits import limits_of
from moe.analysis.statistics import Interval, median_interval, ratio_interval
from moe.analysis.summary import Row, Summary, summarise, tokens_ratio

__all__ = [
    "Interval",
    "Row",
    "Summary",
    "limits_of",
    "median_interval",
    "ratio_interval",
    "summarise",
    "tokens_ratio",
]

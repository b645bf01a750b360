"""Reports: from a profile to a folder with runs, executed notebooks, figures and pages."""

from moe.report.pipeline import make_report, render_again

__all__ = ["make_report", "render_again"]

"""Reports: from a profile to a folder with runs, executed notebooks, figures and pages."""

"""Pages that show a run: one file each, which opens without a network and loads nothing."""

from discrete_latents.report.run_report import write_run_report

__all__ = ["write_run_report"]

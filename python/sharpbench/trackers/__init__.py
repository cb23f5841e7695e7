"""Log a run to an experiment tracker: one tracker run per cell.

A cell's tracker run has the setting as its configuration, accuracy, losses, learning rate and
seconds by epoch, and its last accuracy, step time and FLOPs as its summary. Everything comes from
the records in the run folder, so nothing is trained and nothing is rounded.

A cell's record that a tracker already has is left out, so you can log a run while it trains, and
again when it is complete. A cell trained again, or on another machine, has another record and so
becomes another tracker run.

Example:
    >>> import sharpbench
    >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
    >>> names = sharpbench.trackers.to_wandb(run, "frontier")  # doctest: +SKIP
"""

from sharpbench.trackers._mlflow import to_mlflow
from sharpbench.trackers._trackio import to_trackio
from sharpbench.trackers._wandb import to_wandb

__all__ = ["to_mlflow", "to_trackio", "to_wandb"]

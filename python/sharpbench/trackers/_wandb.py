"""Weights & Biases."""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from sharpbench._result import Run
from sharpbench.trackers._cells import TrackedCell, tracked_cells
from sharpbench.trackers._library import require


def to_wandb(
    run: Run,
    project: str,
    *,
    mode: Literal["offline", "online"] = "offline",
    dir: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Log a run to Weights & Biases.

    Offline, wandb writes a folder for each cell; `wandb sync` uploads it. A cell whose folder is
    there, or (online) whose run is on the server, is left out. To log the same record again, remove
    that first. That also holds for the last cell if you interrupt this. A cell trained again is
    logged as a new run. A run of yours that is active remains active.

    Args:
        run: The run.
        project: Project of wandb.
        mode: `"offline"` writes folders only; `"online"` also uploads.
        dir: Where wandb puts its folder `wandb`; by default as wandb's own settings say.

    Returns:
        The names of the cells that were logged now.

    Raises:
        SharpbenchError: wandb is not installed, or a record is no longer there.

    Example:
        >>> import sharpbench
        >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
        >>> names = sharpbench.trackers.to_wandb(run, "frontier")  # doctest: +SKIP
    """
    wandb = require("wandb")
    settings = wandb.setup().settings.model_copy()
    if dir is not None:
        settings.root_dir = os.fspath(dir)
    folder = Path(settings.wandb_dir)
    logged = []
    for cell in tracked_cells(run):
        identity = _identity(project, cell)
        if any(folder.glob(f"*run-*-{identity}")):
            continue
        started = wandb.init(
            project=project,
            id=identity,
            name=cell.name,
            config=cell.config,
            mode=mode,
            dir=settings.root_dir,
            # A run of the user's may be active.
            reinit="create_new",
            # "allow" shows whether the server has the run; offline that is unknown.
            resume="allow" if mode == "online" else None,
            # This process is not the one that trained: its output, machine and code say nothing.
            settings=wandb.Settings(
                quiet=True,
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        with started:
            if not started.resumed:
                _log(started, cell)
                logged.append(cell.name)
    return logged


def _log(started: Any, cell: TrackedCell) -> None:
    for epoch, values in enumerate(cell.epochs, start=1):
        started.log(values, step=epoch)
    started.summary.update(cell.summary)


def _identity(project: str, cell: TrackedCell) -> str:
    """The id of a cell's run. Each project has runs of its own, but folders lie side by side."""
    return hashlib.sha256(f"{project}/{cell.record}".encode()).hexdigest()[:16]

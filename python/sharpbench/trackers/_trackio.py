"""Trackio."""

from typing import Any

from sharpbench._result import Run
from sharpbench.trackers._cells import TrackedCell, tracked_cells
from sharpbench.trackers._library import require


def to_trackio(run: Run, project: str) -> list[str]:
    """Log a run to Trackio.

    Trackio has no summaries: the results are metrics of the last epoch. A cell that the local
    project has is left out; to log the same record again, delete its run in Trackio first. A cell
    trained again is logged as a new run, with the same name. A Trackio run of yours that is active
    is finished.

    `trackio.import_tf_events` is not used: it takes no configuration, and only new projects.

    Args:
        run: The run.
        project: Project of Trackio, in the folder that `TRACKIO_DIR` names.

    Returns:
        The names of the cells that were logged now.

    Raises:
        SharpbenchError: Trackio is not installed, or a record is no longer there.

    Example:
        >>> import sharpbench
        >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
        >>> names = sharpbench.trackers.to_trackio(run, "frontier")  # doctest: +SKIP
    """
    trackio = require("trackio")
    known = _known(trackio, project)
    logged = []
    for cell in tracked_cells(run):
        if cell.record in known:
            continue
        started = trackio.init(
            project=project,
            name=cell.name,
            config=cell.config,
            embed=False,
            # This process is not the one that trained.
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        _log(started, cell)
        trackio.finish()
        logged.append(cell.name)
    return logged


def _known(trackio: Any, project: str) -> set[str]:
    """Records of the cells that the project has."""
    try:
        runs = list(trackio.Api().runs(project))
    except ValueError:
        # There is no such project yet.
        return set()
    return {(known.config or {}).get("record", "") for known in runs}


def _log(started: Any, cell: TrackedCell) -> None:
    last = len(cell.epochs)
    for epoch, values in enumerate(cell.epochs[:-1], start=1):
        started.log(values, step=epoch)
    values = cell.epochs[-1] if cell.epochs else {}
    started.log({**values, **cell.summary}, step=last)

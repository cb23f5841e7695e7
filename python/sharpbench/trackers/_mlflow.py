"""MLflow."""

from typing import Any

from sharpbench._errors import SharpbenchError
from sharpbench._result import Run
from sharpbench.trackers._cells import TrackedCell, tracked_cells
from sharpbench.trackers._library import require

# Names the cell's record in every store, whatever its run is renamed to.
TAG = "sharpbench.record"
# MLflow takes at most so many at once.
BATCH = 1000


def to_mlflow(run: Run, experiment: str, *, tracking_uri: str | None = None) -> list[str]:
    """Log a run to MLflow.

    A cell that the experiment has is left out. To log the same record again, delete its run in
    MLflow first. A cell trained again is logged as a new run. A run that was not logged to its end
    is replaced.

    Args:
        run: The run.
        experiment: Experiment of MLflow; it is created if there is none.
        tracking_uri: Where MLflow stores runs, such as `sqlite:///mlflow.db`; by default as its own
            settings say.

    Returns:
        The names of the cells that were logged now.

    Raises:
        SharpbenchError: MLflow is not installed, the experiment is deleted, or a record is no
            longer there.

    Example:
        >>> import sharpbench
        >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
        >>> names = sharpbench.trackers.to_mlflow(run, "frontier")  # doctest: +SKIP
    """
    mlflow = require("mlflow")
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    known = client.get_experiment_by_name(experiment)
    if known is None:
        place = client.create_experiment(experiment)
    elif known.lifecycle_stage == "active":
        place = known.experiment_id
    else:
        raise SharpbenchError(
            f"the experiment {experiment} is deleted; restore it or use another name"
        )
    logged = []
    for cell in tracked_cells(run):
        runs = client.search_runs([place], filter_string=f"tags.`{TAG}` = '{cell.record}'")
        if any(found.info.status == "FINISHED" for found in runs):
            continue
        for unfinished in runs:
            client.delete_run(unfinished.info.run_id)
        _log(mlflow, client, place, cell)
        logged.append(cell.name)
    return logged


def _log(mlflow: Any, client: Any, place: str, cell: TrackedCell) -> None:
    started, finished = (int(1000 * seconds) for seconds in (cell.started, cell.finished))
    created = client.create_run(
        place, start_time=started, tags={TAG: cell.record}, run_name=cell.name
    )
    number = created.info.run_id
    entities = mlflow.entities
    client.log_batch(
        number, params=[entities.Param(key, str(value)) for key, value in cell.config.items()]
    )
    metrics = [
        entities.Metric(name, value, finished, epoch)
        for epoch, values in enumerate(cell.epochs, start=1)
        for name, value in values.items()
    ]
    metrics += [
        entities.Metric(name, value, finished, len(cell.epochs))
        for name, value in cell.summary.items()
    ]
    for first in range(0, len(metrics), BATCH):
        client.log_batch(number, metrics=metrics[first : first + BATCH])
    client.set_terminated(number, end_time=finished)

"""What a tracker is given about a cell."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpbench._columns import SETTING
from sharpbench._errors import SharpbenchError
from sharpbench._result import Run

# Names of the series, as in the TensorBoard files of `sharpbench report --tensorboard`, by the
# record's own names.
SERIES = {
    "test/accuracy": "test_accuracy",
    "test/loss": "test_loss",
    "train/loss": "train_loss",
    "train/learning_rate": "lr",
    "train/seconds": "train_seconds",
}
SUMMARY = [
    "test_accuracy_last",
    "step_seconds_median",
    "flops_nominal",
    "flops_theoretical",
    "flops_executed",
]
# Trackers show numbers in a browser, which rounds larger integers.
LARGEST_EXACT = 2**53


@dataclass(frozen=True)
class TrackedCell:
    """One cell, as it is logged.

    Attributes:
        record: Identity of its record: the cell's id, when its training ended, and the weights'
            fingerprint. A cell trained again, or on another machine, has another.
        name: Its setting and seed.
        config: Its setting, and what it is a cell of; without keys that do not apply.
        epochs: The series after each epoch; values that were not measured are left out.
        summary: Its results, without those that it lacks.
        started: When its training began, in seconds since 1970.
        finished: When it ended.
    """

    record: str
    name: str
    config: dict[str, str | int | float | bool]
    epochs: list[dict[str, float]]
    summary: dict[str, float]
    started: float
    finished: float


def tracked_cells(run: Run) -> Iterator[TrackedCell]:
    """List the finished cells of a run.

    Args:
        run: The run. Its folders must still be there.

    Yields:
        Each cell, in the order of the report.

    Raises:
        SharpbenchError: A cell's record is no longer there.

    Example:
        >>> import sharpbench
        >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
        >>> next(tracked_cells(run)).name
        'sgd, seed 1234'
    """
    for row in run.report["rows"]:
        for cell in row["cells"]:
            record = _record(run.folders, cell)
            keys = ["suite", "profile", "data", "stand_in", *SETTING, "status"]
            config = {key: cell[key] for key in keys if cell[key] is not None}
            seed = cell["seed"]
            config["seed"] = seed if seed <= LARGEST_EXACT else str(seed)
            finished = record["provenance"]["finished_unix"]
            identity = f"{cell['id']}-{finished}-{cell['fingerprint'][:16]}"
            config["cell"] = cell["id"]
            config["record"] = identity
            yield TrackedCell(
                record=identity,
                name=f"{row['name']}, seed {seed}",
                config=config,
                epochs=[_series(epoch) for epoch in record["measures"]["epochs"]],
                summary={key: cell[key] for key in SUMMARY if cell[key] is not None},
                started=finished - cell["train_seconds"],
                finished=float(finished),
            )


def _series(epoch: dict[str, Any]) -> dict[str, float]:
    """The values of one epoch under their names in trackers."""
    return {name: epoch[key] for name, key in SERIES.items() if epoch.get(key) is not None}


def _record(folders: tuple[Path, ...], cell: dict[str, Any]) -> dict[str, Any]:
    """Find the record of a reported cell. Its copy in an earlier folder may be damaged."""
    for folder in folders:
        for path in sorted(folder.glob(f"cells/*-{cell['id']}.json")):
            try:
                record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                if record["measures"]["fingerprint"] == cell["fingerprint"]:
                    return record
            except (OSError, ValueError, KeyError, TypeError):
                continue
    raise SharpbenchError(
        f"the record of cell {cell['id']} is no longer in {', '.join(map(str, folders))}; "
        "load the run again"
    )

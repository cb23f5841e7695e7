"""Load the report of run folders."""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from sharpbench._errors import SharpbenchWarning
from sharpbench._frames import Library, choose_library
from sharpbench._program import COMPLETE, WARNING, call
from sharpbench._result import Run

Folder = str | os.PathLike[str]


def load(run: Folder | Sequence[Folder], *, frames: Library | None = None) -> Run:
    """Load a run.

    The program computes the report from the records in the folder, so a run can be loaded while it
    trains.

    Args:
        run: A run folder, or several of one suite, profile and data set, which are reported as one.
        frames: Library of the data frames. By default pandas if it is installed, or else Polars.

    Returns:
        The run. If cells are missing, its `complete` is False.

    Raises:
        SharpbenchError: A folder holds no run, the runs do not belong together, the program is
            missing, or the library that `frames` names is.
        ValueError: `frames` names another library, or `run` is empty.

    Example:
        >>> import sharpbench
        >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
        >>> run.complete
        True
    """
    folders = [run] if isinstance(run, str | os.PathLike) else list(run)
    if not folders:
        raise ValueError("run is empty: give at least one run folder")
    if frames is not None:
        # Said now, not when the first frame is read.
        choose_library(frames)
    # After `--`, a folder's name may begin with a dash.
    done = call(["report", "--format", "json", "--", *(os.fspath(folder) for folder in folders)])
    for line in done.stderr.splitlines():
        if line.startswith(WARNING):
            warnings.warn(line.removeprefix(WARNING), SharpbenchWarning, stacklevel=2)
    return Run(
        folders=tuple(Path(folder) for folder in folders),
        complete=done.returncode == COMPLETE,
        report=json.loads(done.stdout),
        frames=frames,
    )

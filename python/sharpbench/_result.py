"""A run, as Python sees it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sharpbench._columns import CELLS, ROWS
from sharpbench._display import as_html, as_text
from sharpbench._frames import Frame, Library, choose_library, frame


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run: its answer, its numbers and where they come from.

    Attributes:
        folders: The run folders.
        complete: Whether every planned cell has a record.
        report: The whole report, as docs/reports.md describes it under "JSON".
        frames: Library of the data frames; None for pandas if it is installed, or else Polars.

    Example:
        >>> import sharpbench
        >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k", frames="polars")
        >>> run.suite, run.profile, run.data
        ('frontier', 'quick', 'mnist-5k')
        >>> run.rows["name"][0], run.rows["test_accuracy_last_n"][0]
        ('sgd', 3)
    """

    folders: tuple[Path, ...]
    complete: bool
    report: dict[str, Any]
    frames: Library | None = None

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return str(self.report["suite"])

    @property
    def profile(self) -> str:
        """Name of the profile."""
        return str(self.report["profile"])

    @property
    def data(self) -> str:
        """The data set that was used."""
        return str(self.report["data"])

    @property
    def stand_in(self) -> bool:
        """Whether embedded data stood in for the suite's own.

        If so, no number says anything about the suite's own data.
        """
        return bool(self.report["stand_in"])

    @property
    def answer(self) -> list[str]:
        """The answer, in at most five sentences."""
        return list(self.report["answer"])

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers should know."""
        return list(self.report["notes"])

    @cached_property
    def cells(self) -> Frame:
        """One line per finished cell. docs/reports.md explains the columns.

        Raises:
            SharpbenchError: Neither pandas nor Polars is installed.
        """
        cells = [cell for row in self.report["rows"] for cell in row["cells"]]
        return frame(CELLS, cells, choose_library(self.frames))

    @cached_property
    def rows(self) -> Frame:
        """One line per setting, over its seeds.

        Nested values are columns of their own, such as `test_accuracy_last_mean`,
        `to_sgd_interval_low` and `claims_retention_finding`. docs/reports.md explains them.

        Raises:
            SharpbenchError: Neither pandas nor Polars is installed.
        """
        return frame(ROWS, self.report["rows"], choose_library(self.frames))

    def __repr__(self) -> str:
        """The answer and a table."""
        return as_text(self.report)

    def _repr_html_(self) -> str:
        """The answer and a table, for notebooks."""
        return as_html(self.report)

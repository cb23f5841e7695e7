"""Loading run folders: the numbers are the program's, and what is wrong is said."""

import csv
import io
import math
import shutil
import statistics
from pathlib import Path

import pytest
from conftest import FRONTIER, REFERENCES

import sharpbench
from sharpbench._columns import SETTING
from sharpbench._program import call


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda path: path.name)
def test_cells_are_those_of_the_csv(folder: Path) -> None:
    printed = call(["report", str(folder), "--format", "csv"]).stdout
    expected = list(csv.DictReader(io.StringIO(printed)))
    cells = sharpbench.load(folder, frames="polars").cells
    assert len(expected) == len(cells) > 0
    assert list(expected[0]) == cells.columns
    for line, cell in zip(expected, cells.iter_rows(named=True), strict=True):
        for name, text in line.items():
            value = cell[name]
            if value is None:
                assert text == ""
            elif isinstance(value, bool):
                assert text == str(value).lower()
            elif isinstance(value, float):
                assert float(text) == value, name
            else:
                assert text == str(value), name


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda path: path.name)
def test_rows_are_means_over_their_cells(folder: Path) -> None:
    run = sharpbench.load(folder, frames="polars")
    cells = iter(run.cells.iter_rows(named=True))
    for row in run.rows.iter_rows(named=True):
        # Complete runs: a row has as many cells as seeds are planned.
        own = [next(cells) for _ in range(row["planned"])]
        assert all(cell[key] == row[key] for cell in own for key in SETTING)
        completed = [cell for cell in own if cell["status"] == "completed"]
        assert len(completed) == row["planned"] - row["diverged"]
        accuracies = [cell["test_accuracy_last"] for cell in completed]
        assert row["test_accuracy_last_n"] == len(accuracies)
        assert row["test_accuracy_last_mean"] == pytest.approx(statistics.mean(accuracies))
        if len(accuracies) > 1:
            spread = statistics.stdev(accuracies)
            assert row["test_accuracy_last_sd"] == pytest.approx(spread, abs=1e-15)
        times = [cell["train_seconds"] for cell in completed]
        assert row["train_seconds_median"] == pytest.approx(statistics.median(times))
    assert next(cells, None) is None


def test_nested_values_are_columns() -> None:
    run = sharpbench.load(FRONTIER, frames="polars")
    rows = {row["name"]: row for row in run.rows.iter_rows(named=True)}
    report = {row["name"]: row for row in run.report["rows"]}
    row, nested = rows["looksam rho .102 alpha .7"], report["looksam rho .102 alpha .7"]
    assert row["claims_retention_finding"] == "supported"
    assert row["claims_share_value"] == nested["claims"]["share"]["value"]
    assert row["to_sgd_interval_low"] == nested["to_sgd"]["interval"]["low"]
    assert rows["sgd"]["to_sgd_interval_low"] is None
    assert rows["late-sam"]["claims_retention_finding"] == "refuted"


def test_what_a_run_says_of_itself() -> None:
    run = sharpbench.load(str(FRONTIER))
    assert (run.suite, run.profile, run.data) == ("frontier", "quick", "mnist-5k")
    assert run.folders == (FRONTIER,)
    assert run.complete
    assert not run.stand_in
    assert run.answer == run.report["answer"]
    assert run.notes == run.report["notes"]
    assert len(run.notes) > 0


def test_stand_in_is_shown(trained: sharpbench.Run) -> None:
    assert trained.stand_in
    assert "STAND-IN" in repr(trained)


def test_incomplete_run(copied: Path) -> None:
    next(copied.glob("cells/*.json")).unlink()
    run = sharpbench.load(copied, frames="polars")
    assert not run.complete
    assert len(run.cells) == 3
    assert len(run.rows) == 4
    assert "incomplete: 3 of 4 cells" in repr(run)


def test_run_without_any_cell(copied: Path) -> None:
    shutil.rmtree(copied / "cells")
    for library in ("pandas", "polars"):
        run = sharpbench.load(copied, frames=library)
        assert not run.complete
        assert run.cells.shape == (0, len(sharpbench.load(FRONTIER, frames=library).cells.columns))
        assert len(run.rows) == 4


def test_damaged_record_is_left_out_with_a_warning(copied: Path) -> None:
    next(copied.glob("cells/*.json")).write_text("{")
    with pytest.warns(sharpbench.SharpbenchWarning, match="is damaged and left out"):
        run = sharpbench.load(copied, frames="polars")
    assert not run.complete
    assert len(run.cells) == 3


def test_damaged_plan_is_an_error(copied: Path) -> None:
    (copied / "run.json").write_text("{")
    with pytest.raises(sharpbench.SharpbenchError, match=r"run\.json: damaged .* remove it") as e:
        sharpbench.load(copied)
    assert not str(e.value).startswith("error")


def test_missing_folder_is_an_error() -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="no-such-run: there is no such folder"):
        sharpbench.load("no-such-run")


def test_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="holds no run"):
        sharpbench.load(tmp_path)


def test_folder_whose_name_is_like_an_option(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied.parent)
    copied.rename("--wide")
    assert sharpbench.load("--wide").complete


def test_several_folders_are_one_run(copied: Path, tmp_path: Path) -> None:
    whole = sharpbench.load(copied, frames="polars")
    other = tmp_path / "other"
    shutil.copytree(copied, other)
    for number, name in enumerate(sorted(path.name for path in copied.glob("cells/*.json"))):
        ((copied, other)[number % 2] / "cells" / name).unlink()
    assert not sharpbench.load(copied).complete
    both = sharpbench.load([copied, other], frames="polars")
    assert both.folders == (copied, other)
    assert both.complete
    assert both.cells.equals(whole.cells)


def test_folders_of_different_suites_are_an_error(copied: Path) -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="can be reported together"):
        sharpbench.load([copied, FRONTIER])


def test_no_folder_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sharpbench.load([])


def test_numbers_are_not_rounded() -> None:
    run = sharpbench.load(FRONTIER, frames="polars")
    printed = [cell["train_seconds"] for row in run.report["rows"] for cell in row["cells"]]
    assert run.cells["train_seconds"].to_list() == printed
    assert not any(math.isclose(value, round(value, 6), rel_tol=1e-15) for value in printed[:3])

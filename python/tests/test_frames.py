"""Frames: the same columns, types and values from both libraries."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import BASELINES, FRONTIER, REFERENCES

import sharpbench
from sharpbench._columns import CELLS, ROWS, Kind, Schema, flat_kinds
from sharpbench._frames import frame
from sharpbench._program import find_program

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

PANDAS: dict[Kind, str] = {
    "text": "string",
    "integer": "UInt64",
    "number": "Float64",
    "flag": "boolean",
}
PYTHON: dict[Kind, type] = {"text": str, "integer": int, "number": float, "flag": bool}
# Tables of their own, which remain in the report.
LEFT_OUT = {"cells", "test_accuracy_by_epoch", "live_by_tensor"}
MAY_BE_ABSENT = {"interval_over_samples"}


def test_pandas_and_polars_agree() -> None:
    for folder in REFERENCES:
        one, other = (sharpbench.load(folder, frames=library) for library in ("pandas", "polars"))
        for name, schema in {"cells": CELLS, "rows": ROWS}.items():
            left, right = getattr(one, name), getattr(other, name)
            assert isinstance(left, pandas.DataFrame)
            assert isinstance(right, polars.DataFrame)
            assert list(left.columns) == right.columns == [name for name, _ in flat_kinds(schema)]
            for column, kind in flat_kinds(schema):
                assert left[column].dtype == PANDAS[kind]
                values = [None if value is pandas.NA else value for value in left[column]]
                assert values == right[column].to_list(), column


@pytest.mark.parametrize("folder", [FRONTIER, BASELINES[0]], ids=lambda path: path.name)
def test_cells_are_those_of_the_parquet_file(folder: Path) -> None:
    """The program takes the types of the Parquet file from its own."""
    printed = subprocess.run(
        [str(find_program()), "report", str(folder), "--format", "parquet"],
        capture_output=True,
        check=True,
    ).stdout
    expected = polars.read_parquet(io.BytesIO(printed))
    cells = sharpbench.load(folder, frames="polars").cells
    assert cells.schema == expected.schema
    assert cells.equals(expected)


def test_every_value_of_a_report_has_a_column_of_its_kind() -> None:
    seen: set[str] = set()
    for folder in REFERENCES + BASELINES:
        for row in sharpbench.load(folder).report["rows"]:
            compare(ROWS, row, seen)
            for cell in row["cells"]:
                compare(CELLS, cell, seen)
    assert {"to_sgd", "claims", "share", "masks", "seconds_to_target", "peak_memory_bytes"} <= seen


def compare(schema: Schema, value: dict[str, Any], seen: set[str]) -> None:
    """Fail where an object of a report is not as the schema says."""
    assert value.keys() - LEFT_OUT <= schema.keys()
    assert schema.keys() - MAY_BE_ABSENT <= value.keys()
    for name, kind in schema.items():
        inner = value.get(name)
        if inner is None:
            continue
        seen.add(name)
        if isinstance(kind, dict):
            compare(kind, inner, seen)
        else:
            assert type(inner) is PYTHON[kind], name


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_large_seeds_stay_exact_beside_missing_values(library: Any) -> None:
    seeds = [2**64 - 1, 2**53 + 1, None, 0]
    made = frame({"seed": "integer"}, [{"seed": seed} for seed in seeds], library)["seed"]
    assert str(made.dtype) == "UInt64"
    # As text: a rounded float would equal the integer.
    expected = [str(seed) for seed in seeds if seed is not None]
    given = made.dropna() if library == "pandas" else made.drop_nulls()
    assert [str(value) for value in given] == expected
    assert list(made.isna() if library == "pandas" else made.is_null()) == [
        seed is None for seed in seeds
    ]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_without_a_value_are_there(library: Any) -> None:
    rows = sharpbench.load(FRONTIER, frames=library).rows
    column = rows["eigenvalue_mean"]
    assert bool((column.isna() if library == "pandas" else column.is_null()).all())
    assert str(column.dtype) == "Float64"


def test_pandas_comes_first() -> None:
    assert isinstance(sharpbench.load(FRONTIER).cells, pandas.DataFrame)


def test_polars_where_pandas_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert isinstance(sharpbench.load(FRONTIER).cells, polars.DataFrame)


def test_without_any_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    run = sharpbench.load(FRONTIER)
    assert "SAM gains" in run.answer[0]
    assert "looksam" in repr(run)
    for name in ("cells", "rows"):
        with pytest.raises(sharpbench.SharpbenchError, match="pip install pandas"):
            getattr(run, name)


def test_chosen_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(sharpbench.SharpbenchError, match="pip install polars"):
        sharpbench.load(FRONTIER, frames="polars")


def test_unknown_library() -> None:
    with pytest.raises(ValueError, match="frames='arrow' is unknown"):
        sharpbench.load(FRONTIER, frames="arrow")  # type: ignore[arg-type]


def test_frames_are_made_once() -> None:
    run = sharpbench.load(FRONTIER)
    assert run.cells is run.cells

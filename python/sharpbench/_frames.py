"""Data frames of pandas or Polars, whichever is installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias, get_args

from sharpbench._columns import Schema, flat_kinds, flat_values
from sharpbench._errors import SharpbenchError

Library: TypeAlias = Literal["pandas", "polars"]
# A frame of the one or the other: neither is a dependency, so neither can be named here.
Frame: TypeAlias = Any

# Types with a missing value of their own: without them, pandas makes floats of integers with gaps,
# which rounds seeds. No integer of a report is negative, and seeds have all 64 bits.
PANDAS = {"text": "string", "integer": "UInt64", "number": "Float64", "flag": "boolean"}
POLARS = {"text": "String", "integer": "UInt64", "number": "Float64", "flag": "Boolean"}


def choose_library(wanted: Library | None) -> Library:
    """Choose the library of the frames.

    Args:
        wanted: The one to use; None for pandas if it is installed, or else Polars.

    Returns:
        The library.

    Raises:
        SharpbenchError: It is not installed.
        ValueError: There is no such choice.

    Example:
        >>> choose_library("polars")
        'polars'
    """
    known: tuple[Library, ...] = get_args(Library)
    if wanted is not None and wanted not in known:
        raise ValueError(f"frames={wanted!r} is unknown; choose one of {', '.join(known)}")
    candidates = known if wanted is None else (wanted,)
    for library in candidates:
        if find_spec(library) is not None:
            return library
    raise SharpbenchError(
        f"data frames need {' or '.join(candidates)}; install it with `pip install {candidates[0]}`"
    )


def frame(schema: Schema, objects: Sequence[Mapping[str, Any]], library: Library) -> Frame:
    """Make a frame with one line per object.

    Args:
        schema: Its columns. Nested ones become columns of their own.
        objects: The objects, as in the report.
        library: The library whose frame to make.

    Returns:
        A `pandas.DataFrame` or a `polars.DataFrame`. Every column is there, also without a value.

    Example:
        >>> frame({"to_sgd": {"n": "integer"}}, [{"to_sgd": None}], "polars")["to_sgd_n"].dtype
        UInt64
    """
    columns: list[list[Any]] = [[] for _ in flat_kinds(schema)]
    for each in objects:
        for column, value in zip(columns, flat_values(schema, each), strict=True):
            column.append(value)
    kinds = flat_kinds(schema)
    if library == "pandas":
        pandas = import_module("pandas")
        return pandas.DataFrame(
            {
                name: pandas.array(values, dtype=PANDAS[kind])
                for (name, kind), values in zip(kinds, columns, strict=True)
            }
        )
    polars = import_module("polars")
    return polars.DataFrame(
        [
            polars.Series(name, values, dtype=getattr(polars, POLARS[kind]))
            for (name, kind), values in zip(kinds, columns, strict=True)
        ]
    )

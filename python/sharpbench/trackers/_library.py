"""The trackers' own packages, which are imported when they are needed."""

from importlib import import_module
from types import ModuleType
from typing import Any

from sharpbench._errors import SharpbenchError


def require(name: str) -> Any:
    """Import a tracker's package.

    Args:
        name: Its name.

    Returns:
        The module, without types: none of them is a dependency.

    Raises:
        SharpbenchError: It is not installed.

    Example:
        >>> require("no_such_tracker")
        Traceback (most recent call last):
        ...
        sharpbench._errors.SharpbenchError: no_such_tracker is not installed; install it with \
`pip install no_such_tracker`
    """
    try:
        module: ModuleType = import_module(name)
    except ModuleNotFoundError as error:
        # A package that is there but lacks one of its own has another problem.
        if error.name != name:
            raise
        raise SharpbenchError(
            f"{name} is not installed; install it with `pip install {name}`"
        ) from None
    return module

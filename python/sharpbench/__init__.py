"""Load and run comparisons of SGD, SAM and sparse SAM from Python.

The package comes with the program `sharpbench`, which trains and computes every number. Python
starts it and reads its reports. See docs/python.md.

Example:
    >>> import sharpbench
    >>> run = sharpbench.load("reports/reference/frontier-quick-mnist-5k")
    >>> print(run.answer[0])
    SAM gains 19.2 points over SGD [16.9, 21.5], 3 seeds.
"""

from importlib.metadata import PackageNotFoundError, version

from sharpbench import trackers
from sharpbench._errors import SharpbenchError, SharpbenchWarning
from sharpbench._load import load
from sharpbench._result import Run
from sharpbench._train import run

try:
    __version__ = version("sharpbench")
except PackageNotFoundError:
    # The package is read from a clone, without the wheel.
    __version__ = "unknown"

__all__ = ["Run", "SharpbenchError", "SharpbenchWarning", "__version__", "load", "run", "trackers"]

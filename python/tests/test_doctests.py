"""Every example in a docstring is run."""

import doctest
import importlib
import pkgutil

import pytest

import sharpbench

pytest.importorskip("polars")

MODULES = [
    "sharpbench",
    *(
        module.name
        for module in pkgutil.walk_packages(sharpbench.__path__, "sharpbench.")
        if not module.name.endswith("__main__")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert failed == 0


@pytest.mark.parametrize("name", [name for name in sharpbench.__all__ if name != "__version__"])
def test_public_names_have_an_example(name: str) -> None:
    assert ">>>" in (getattr(sharpbench, name).__doc__ or "")

"""Finding the program, and being it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import sharpbench
from sharpbench._program import find_program

NAME = "sharpbench.exe" if sys.platform == "win32" else "sharpbench"


def make(folder: Path) -> Path:
    """A program in a folder."""
    folder.mkdir()
    program = folder / NAME
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this Python's scripts, empty, and an empty PATH."""
    folder = tmp_path / "scripts"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return folder


def test_the_wheels_own_program_comes_first(scripts: Path, tmp_path: Path) -> None:
    make(tmp_path / "path")
    program = make(scripts)
    assert find_program() == program


def test_program_on_path(scripts: Path, tmp_path: Path) -> None:
    program = make(tmp_path / "path")
    assert find_program() == program


def test_without_a_program(scripts: Path) -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="pip install sharpbench") as e:
        sharpbench.load("run")
    assert str(scripts) in str(e.value)


def python_m(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sharpbench", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_m_is_the_program() -> None:
    version = subprocess.run(
        [str(find_program()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    done = python_m("--version")
    assert (done.returncode, done.stdout) == (0, version)
    # Exit codes and messages are the program's.
    done = python_m("report", "no-such-run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: run no-such-run")


def test_version() -> None:
    assert isinstance(sharpbench.__version__, str)
    assert sharpbench.__version__

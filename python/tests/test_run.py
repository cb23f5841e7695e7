"""Running suites: smoke profiles, which take seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

import sharpbench
from sharpbench._program import find_program

# The fastest of all suites.
SUITE = "edge-quadratic"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the program's place."""

    def replace(script: str) -> None:
        fake = tmp_path / "sharpbench"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        for module in ("_program", "_train"):
            monkeypatch.setattr(f"sharpbench.{module}.find_program", lambda: fake)

    return replace


def test_run_folder_of_the_programs_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = sharpbench.run(SUITE, profile="smoke", threads=1, quiet=True)
    assert run.folders == (Path("reports/edge-quadratic-smoke-synthetic"),)
    assert (tmp_path / run.folders[0] / "run.json").is_file()
    assert run.complete


def test_folder_of_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = sharpbench.run(
        "mnist",
        profile="smoke",
        data="stand-in",
        threads=1,
        quiet=True,
        extra=["--filter", "optimizer=sgd,seed=1234"],
        frames="polars",
    )
    # Named after the data that was used, which only the program knows.
    assert run.folders == (Path("reports/mnist-smoke-mnist-5k"),)
    assert run.stand_in
    assert set(run.cells["optimizer"]) == {"sgd"}
    assert set(run.cells["seed"]) == {1234}


def test_suite_by_path_and_progress(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    suite = ROOT / "suites" / f"{SUITE}.toml"
    run = sharpbench.run(suite, profile="smoke", out=tmp_path / "-run", threads=1, frames="pandas")
    assert run.complete
    assert run.frames == "pandas"
    assert len(run.cells) == 4
    shown = capfd.readouterr()
    assert "4 cells" in shown.err
    assert "[4/4]" in shown.err
    # The report is for Python, not for the terminal.
    assert shown.out == ""


def test_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sharpbench.run(SUITE, profile="smoke", out=tmp_path, threads=1, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_finished_cells_are_not_trained_again(tmp_path: Path) -> None:
    first, second = (
        sharpbench.run(SUITE, profile="smoke", out=tmp_path, threads=1, quiet=True, frames="polars")
        for _ in range(2)
    )
    assert first.cells.equals(second.cells)


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script here")
def test_incomplete_run_is_loaded(copied: Path, program: Callable[[str], None]) -> None:
    """Cells that another process trains are missing when this one ends."""
    next(copied.glob("cells/*.json")).unlink()
    program(f'[ "$1" = suite ] && exit 3\nexec {find_program()} "$@"')
    run = sharpbench.run(SUITE, profile="smoke", out=copied)
    assert not run.complete


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script here")
@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("kill -KILL $$", "the program was ended by a signal (-9); call again to resume"),
        # As a shell or a container reports it.
        ("exit 137", "the program was ended by a signal (137); call again to resume"),
        ("exit 101", "the program failed with exit code 101; its message is above"),
        ("echo error: no memory >&2\nexit 101", "no memory"),
    ],
    ids=["signal", "signal by shell", "crash", "error"],
)
def test_program_that_does_not_end_by_itself(
    ends: str, message: str, program: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    program(f"echo thread panicked >&2\n{ends}")
    with pytest.raises(sharpbench.SharpbenchError) as e:
        sharpbench.run(SUITE, profile="smoke")
    assert str(e.value) == message
    assert capfd.readouterr().err == "thread panicked\n"


def test_unknown_suite_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="no-such-suite") as e:
        sharpbench.run("no-such-suite")
    assert not str(e.value).startswith("error")
    # Once is enough.
    assert capfd.readouterr().err == ""


def test_wrong_option_is_an_error() -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="--no-such-option"):
        sharpbench.run(SUITE, extra=["--no-such-option"])


def test_until_is_passed_on() -> None:
    with pytest.raises(sharpbench.SharpbenchError, match="invalid value 'x' for '--until"):
        sharpbench.run(SUITE, until="x")  # type: ignore[arg-type]


def test_run_folder_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Prints ids of cells instead of a report.
    with pytest.raises(sharpbench.SharpbenchError, match="give it with out="):
        sharpbench.run(SUITE, profile="smoke", quiet=True, extra=["--executor", "plan"])


def test_library_is_checked_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(sharpbench.SharpbenchError, match="polars"):
        sharpbench.run(SUITE, profile="smoke", out=tmp_path / "run", frames="polars")
    assert not (tmp_path / "run").exists()


INTERRUPTED = """
import sharpbench, sys
try:
    sharpbench.run("frontier", out=sys.argv[1], threads=1, offline=True,
                   extra=["--filter", "optimizer=momentum-sam,seed=1234"])
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("whole_group", [False, True], ids=["Python", "terminal"])
def test_interruption_leaves_a_checkpoint(tmp_path: Path, whole_group: bool) -> None:
    """A notebook interrupts Python alone; Ctrl-C in a terminal, all processes of its group."""
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as python:
        assert python.stderr is not None
        # The first line comes before the training.
        assert "1 cells" in python.stderr.readline()
        time.sleep(1)
        if whole_group:
            os.killpg(python.pid, signal.SIGINT)
        else:
            python.send_signal(signal.SIGINT)
        shown = python.stderr.read()
        assert python.wait() == 77, shown
    assert "stopped and checkpointed" in shown
    assert len(list(folder.glob("checkpoints/*.safetensors"))) == 1
    assert not list(folder.glob("cells/*.json"))
    assert not sharpbench.load(folder).complete


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_interrupted_run_is_resumed(tmp_path: Path) -> None:
    test_interruption_leaves_a_checkpoint(tmp_path, whole_group=False)
    run = sharpbench.run(
        "frontier",
        out=tmp_path / "run",
        threads=1,
        offline=True,
        quiet=True,
        extra=["--filter", "optimizer=momentum-sam,seed=1234"],
    )
    (record,) = (tmp_path / "run").glob("cells/*.json")
    assert json.loads(record.read_text())["resumed"] == 1
    assert len(run.cells) == 1

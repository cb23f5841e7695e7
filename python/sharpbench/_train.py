"""Train the cells of a suite, in the program."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

from sharpbench._errors import SharpbenchError
from sharpbench._frames import Library, choose_library
from sharpbench._load import load
from sharpbench._program import COMPLETE, ERROR, FAILED, INCOMPLETE, check, find_program
from sharpbench._result import Run


def run(
    suite: str | os.PathLike[str],
    *,
    profile: str | None = None,
    out: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    until: Literal["decided"] | None = None,
    offline: bool = False,
    extra: Sequence[str] = (),
    frames: Library | None = None,
    quiet: bool = False,
) -> Run:
    """Train the cells of a suite that have no record yet, and load the run.

    This is `sharpbench suite`. Progress goes to `sys.stderr`. If you interrupt Python, the program
    finishes its step and writes a checkpoint before `KeyboardInterrupt` is raised. Call again with
    the same arguments to resume. Interrupt a second time to end it at once.

    Args:
        suite: Name of a suite, or path of a .toml file.
        profile: Size of the experiment; `quick` by default.
        out: Run folder; `reports/<suite>-<profile>-<data>` by default.
        data: `auto` (the default), `stand-in`, `hub`, or a folder with the data.
        jobs: Cells to train at once; 1 by default.
        threads: Threads of each cell; as many as CPUs by default.
        until: `"decided"` trains more seeds until the claims about every row are decided.
        offline: Never use the network.
        extra: Further options of `sharpbench suite`, such as `["--filter", "optimizer=sam"]`.
        frames: Library of the data frames, as for `load`.
        quiet: Show no progress, only warnings.

    Returns:
        The run. If cells are missing, its `complete` is False.

    Raises:
        SharpbenchError: The program failed, or was ended by a signal.
        ValueError: `frames` names another library than pandas and Polars.
        KeyboardInterrupt: You interrupted Python; the run is checkpointed.

    Example:
        >>> import sharpbench, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> run = sharpbench.run(
        ...     "edge-quadratic", profile="smoke", out=folder.name, threads=1, quiet=True
        ... )
        >>> run.complete
        True
        >>> folder.cleanup()
    """
    if frames is not None:
        # Said before hours of training, not after.
        choose_library(frames)
    options: dict[str, object] = {
        "--profile": profile,
        "--out": out,
        "--data": data,
        "--jobs": jobs,
        "--threads": threads,
        "--until": until,
    }
    command = [str(find_program()), "suite", "--format", "json"]
    for name, value in options.items():
        if value is not None:
            # One word, so that a value may begin with a dash.
            command.append(f"{name}={value}")
    if offline:
        command.append("--offline")
    if quiet:
        command.append("--quiet")
    command += [*extra, "--", os.fspath(suite)]
    printed = _train(command)
    return load(_default_folder(printed) if out is None else out, frames=frames)


def _train(command: list[str]) -> str:
    """Run the program until it ends. Returns its report; raises if it failed."""
    with tempfile.TemporaryFile() as report:
        with subprocess.Popen(
            command,
            stdout=report,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C in a terminal reaches all programs of a session, and the second signal ends
            # this one at once. In a session of its own it gets exactly what Python sends.
            start_new_session=True,
        ) as process:
            assert process.stderr is not None
            try:
                message = _copy(process.stderr)
                code = process.wait()
            except BaseException:
                _stop(process, process.stderr)
                raise
        # A shell adds 128 to the number of the signal.
        if code < 0 or code > 128:
            raise SharpbenchError(
                f"the program was ended by a signal ({code}); call again to resume"
            )
        if code not in (COMPLETE, FAILED, INCOMPLETE) and not message:
            raise SharpbenchError(f"the program failed with exit code {code}; its message is above")
        check(code, message)
        report.seek(0)
        return report.read().decode("utf-8")


def _copy(stderr: IO[str]) -> str:
    """Copy progress and warnings to the user's stderr. Returns the error message, if there is one.

    `sys.stderr` is looked up for each line, because notebooks and tests replace it.
    """
    message = ""
    for line in stderr:
        if message or line.startswith(ERROR):
            message += line
        else:
            print(line, end="", file=sys.stderr, flush=True)
    return message


def _stop(process: "subprocess.Popen[str]", stderr: IO[str]) -> None:
    """Let the program write its checkpoint; a second interruption ends it at once."""
    try:
        _interrupt(process)
        _copy(stderr)
        process.wait()
    except KeyboardInterrupt:
        _interrupt(process)
        process.wait()


def _interrupt(process: "subprocess.Popen[str]") -> None:
    """Send what Ctrl-C sends. On Windows, the console has already sent it to the program."""
    if sys.platform != "win32":
        process.send_signal(signal.SIGINT)


def _default_folder(report: str) -> Path:
    """The run folder that the program chose: docs/reports.md, "The run folder"."""
    try:
        about = json.loads(report)
        return Path("reports") / f"{about['suite']}-{about['profile']}-{about['data']}"
    except (ValueError, KeyError, TypeError):
        raise SharpbenchError(
            "the program printed no report, so the run folder is not known; give it with out="
        ) from None

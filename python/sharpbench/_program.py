"""Where the program is, and what it says when it fails."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from sharpbench._errors import SharpbenchError

# The program's exit codes (docs/reports.md, "Output and exit codes").
COMPLETE = 0
FAILED = 2
INCOMPLETE = 3

ERROR = "error: "
WARNING = "warning: "


def find_program() -> Path:
    """Find the program that belongs to this package.

    pip puts it in a folder of scripts, which need not be on PATH. That one comes first: another one
    on PATH may have another version.

    Returns:
        Path of the program.

    Raises:
        SharpbenchError: There is none, neither in the wheel nor on PATH.

    Example:
        >>> find_program().stem
        'sharpbench'
    """
    name = "sharpbench.exe" if sys.platform == "win32" else "sharpbench"
    scripts = Path(sysconfig.get_path("scripts"))
    for program in (*_of_wheel(name), scripts / name):
        if program.is_file():
            return program
    on_path = shutil.which("sharpbench")
    if on_path is None:
        raise SharpbenchError(
            f"the program sharpbench is neither in {scripts} nor on PATH; install sharpbench's "
            "wheel with pip, or in a clone the program with `cargo install --path . --locked`"
        )
    return Path(on_path)


def _of_wheel(name: str) -> Iterator[Path]:
    """List where the installed wheel's program may be."""
    try:
        wheel = distribution("sharpbench")
    except PackageNotFoundError:
        return
    for file in wheel.files or ():
        if file.name == name and file.parent.name.lower() in ("bin", "scripts"):
            yield Path(file.locate())
    # With --target, pip lists it in another folder than this, where it puts it.
    yield Path(str(wheel.locate_file(f"bin/{name}")))


def call(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run the program and capture what it prints.

    Args:
        arguments: Command and options.

    Returns:
        Exit code, stdout and stderr. The exit code is that of a complete or an incomplete run.

    Raises:
        SharpbenchError: The program is missing, or it failed.

    Example:
        >>> call(["--version"]).stdout.split()[0]
        'sharpbench'
    """
    done = subprocess.run(
        [str(find_program()), *arguments], capture_output=True, encoding="utf-8", check=False
    )
    check(done.returncode, done.stderr)
    return done


def check(code: int, stderr: str) -> None:
    """Raise if the program failed.

    Args:
        code: Its exit code; negative if a signal ended it.
        stderr: What it printed there. The message is what follows `error: `.

    Raises:
        SharpbenchError: It failed.

    Example:
        >>> check(3, "incomplete: 2 of 4 cells are finished")
        >>> check(2, "error: unknown suite")
        Traceback (most recent call last):
        ...
        sharpbench._errors.SharpbenchError: unknown suite
    """
    if code in (COMPLETE, INCOMPLETE):
        return
    _, _, message = f"\n{stderr}".rpartition(f"\n{ERROR}")
    if not message.strip():
        # What a crash prints has no such line.
        message = f"the program failed with exit code {code}: {stderr.strip()}"
    raise SharpbenchError(message.strip())

"""Finding the program, and being it."""

import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest
from conftest import ROOT

import sharpbench
from sharpbench._program import find_program

NAME = "sharpbench.exe" if sys.platform == "win32" else "sharpbench"


def make(folder: Path) -> Path:
    """A program in a folder."""
    folder.mkdir(exist_ok=True)
    program = folder / NAME
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this Python's scripts, empty; an empty PATH; no wheel."""
    folder = tmp_path / "scripts"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))

    def not_installed(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sharpbench._program.distribution", not_installed)
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
    with pytest.raises(sharpbench.SharpbenchError, match="wheel with pip") as e:
        sharpbench.load("run")
    assert str(scripts) in str(e.value)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The package as a wheel with a program that says hello, installed by pip with --target."""
    pytest.importorskip("pip")
    wheel = tmp_path / "sharpbench-1.2.3-py3-none-any.whl"
    with ZipFile(wheel, "w") as packed:
        for module in sorted((ROOT / "python" / "sharpbench").rglob("*.py")):
            packed.write(module, module.relative_to(ROOT / "python"))
        program = ZipInfo(f"sharpbench-1.2.3.data/scripts/{NAME}")
        program.external_attr = 0o100755 << 16
        packed.writestr(program, "#!/bin/sh\necho hello\n")
        about = {
            "METADATA": "Metadata-Version: 2.1\nName: sharpbench\nVersion: 1.2.3\n",
            "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        for name, text in about.items():
            packed.writestr(f"sharpbench-1.2.3.dist-info/{name}", text)
    folder = tmp_path / "target"
    options = ["--quiet", "--no-index", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script here")
def test_program_of_a_wheel_installed_with_target(target: Path, tmp_path: Path) -> None:
    make(tmp_path / "path")
    done = subprocess.run(
        [sys.executable, "-m", "sharpbench"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(target), "PATH": str(tmp_path / "path")},
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


@pytest.mark.parametrize("recorded", ["../../../bin", "bin", "../Scripts"])
def test_program_where_the_wheels_list_says(
    recorded: str, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --user and --prefix, scripts are not in the folder of this Python's scripts."""
    packages = tmp_path / "lib" / "python3" / "site-packages"
    about = packages / "sharpbench-1.2.3.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sharpbench\nVersion: 1.2.3\n")
    (about / "RECORD").write_text(f"sharpbench/{NAME},,\n{recorded}/{NAME},,\n")
    program = make(packages / recorded)
    make(scripts)
    make(tmp_path / "path")
    monkeypatch.setattr("sharpbench._program.distribution", lambda name: Distribution.at(about))
    assert find_program().samefile(program)


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
    if sharpbench.__version__ == "unknown":
        pytest.skip("sharpbench is not installed as a wheel")
    printed = subprocess.run(
        [str(find_program()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split()[1] == sharpbench.__version__

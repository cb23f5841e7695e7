"""What the tests share: the clone's folder, and runs that train within seconds."""

import shutil
from pathlib import Path

import pytest

import sharpbench

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = sorted(path.parent for path in (ROOT / "reports" / "reference").glob("*/run.json"))
BASELINES = sorted(path.parent for path in (ROOT / "reports" / "baseline").glob("*/run.json"))
FRONTIER = ROOT / "reports" / "reference" / "frontier-quick-mnist-5k"


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in examples are relative to the clone."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A small complete run that a test may damage: 4 cells."""
    folder = tmp_path / "copied"
    shutil.copytree(ROOT / "reports" / "baseline" / "edge-quadratic", folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> sharpbench.Run:
    """A run of 18 cells on digits, with several epochs, masks and two seeds."""
    return sharpbench.run(
        "mnist",
        profile="smoke",
        out=tmp_path_factory.mktemp("trained") / "run",
        threads=1,
        offline=True,
        quiet=True,
    )

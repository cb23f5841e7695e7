"""The notebook: runs from both folders, draws the program's picture, and is committed clean."""

import base64
import json
import re
from pathlib import Path

import pytest
from conftest import FRONTIER, ROOT

# What the picture shows, as JSON: bars, names, titles and labels.
POINTS = """
import json

bars = [[bars.lines[2][0].get_segments() for bars in axes.containers] for axes in panels]
bars = [[line.tolist() for family in panel for line in family] for panel in bars]
names = [[text.get_text() for text in axes.texts if text.get_text()] for axes in panels]
titles = [axes.get_title("left") for axes in panels]
labels = [axes.get_xlabel() for axes in panels] + [panels[0].get_ylabel()]
print(json.dumps([bars, names, titles, labels]))
"""

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the clone, into which the notebook may write its run."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "examples").mkdir()
    (folder / "reports").mkdir()
    (folder / "reports" / "reference").symlink_to(FRONTIER.parent)
    return folder


@pytest.mark.parametrize("start", ["examples", "."])
def test_notebook_runs_and_draws_the_programs_points(clone: Path, start: str) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(POINTS))
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(clone / start)}}
    ).execute()
    assert (clone / "reports" / "label-noise-smoke-mnist-5k" / "run.json").is_file()
    lines, names, titles, labels = json.loads(notebook.cells[-1].outputs[0].text)
    picture = (FRONTIER / "figures" / "frontier.svg").read_text()
    panels = picture.split('<text class="title"')[1:]
    assert len(panels) == 2
    for panel, own_lines, own_names in zip(panels, lines, names, strict=True):
        assert sorted(own_names) == sorted(re.findall(r'class="name"[^>]*>([^<]+)<', panel))
        assert close(own_lines, bars(panel))
    for text in titles + labels:
        assert f">{text}<" in picture


def bars(panel: str) -> list[list[list[float]]]:
    """The bars of the picture in the units of its axes, from the pixels of its marks."""
    across = [
        (float(x), float(text))
        for x, text in re.findall(
            r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">([\d.]+)<', panel
        )
    ]
    up = [
        (float(y) - 4, float(text))
        for y, text in re.findall(
            r'<text x="[\d.]+" y="([\d.]+)" text-anchor="end">([\d.]+)<', panel
        )
    ]
    found = []
    for x, low, high in re.findall(
        r'class="spread [^"]+" x1="([\d.]+)" x2="[\d.]+" y1="([\d.]+)" y2="([\d.]+)"', panel
    ):
        ends = [[value(across, float(x)), value(up, float(y))] for y in (low, high)]
        found.append(ends)
    return found


def value(marks: list[tuple[float, float]], pixel: float) -> float:
    """The value at a pixel of a linear axis."""
    (first, low), (last, high) = marks[0], marks[-1]
    return low + (pixel - first) / (last - first) * (high - low)


def close(own: list[list[list[float]]], drawn: list[list[list[float]]]) -> bool:
    """Whether every bar is drawn. Pixels are rounded to a tenth; SGD and SAM have no bar there."""
    own = sorted(line for line in own if line[0] != line[1])
    rest = list(drawn)
    for line in own:
        near = [
            other
            for other in rest
            if all(
                abs(a[0] - b[0]) < 0.002 and abs(a[1] - b[1]) < 0.1
                for a, b in zip(line, other, strict=True)
            )
        ]
        if not near:
            return False
        rest.remove(near[0])
    return not rest


def test_committed_outputs() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    # No warnings.
    assert all(output.get("name") != "stderr" for output in outputs)
    pictures = [
        output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
    assert len(base64.b64decode(pictures[0])) < 100_000
    # Nothing of the machine that ran it, and no times.
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    rest = text.replace(pictures[0], "")
    assert not re.search(r"/(tmp|home|root|Users|work|opt|usr)/", rest)

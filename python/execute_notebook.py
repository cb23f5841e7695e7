"""Execute examples/notebook.ipynb and store it as it is committed.

Run it in the clone after a change of the notebook, with the extra `test` installed:

    python python/execute_notebook.py
"""

import base64
import io
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
# A picture of few colours needs no more, and a third of the size.
COLORS = 128


def main() -> None:
    """Execute the notebook and write it back."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as clone:
        # The notebook trains a run; this keeps it out of the clone's own reports.
        reports = Path(clone) / "reports"
        reports.mkdir()
        (reports / "reference").symlink_to(ROOT / "reports" / "reference")
        NotebookClient(
            notebook,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": clone}},
        ).execute()
    # Neither versions nor times: they would change with every execution.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        for output in cell.get("outputs", []):
            shrink(output.get("data", {}))
    nbformat.validate(notebook)
    nbformat.write(notebook, NOTEBOOK)


def shrink(data: dict[str, Any]) -> None:
    """Store a picture with a palette, and without the size that stands in for it as text."""
    if "image/png" not in data:
        return
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    small = io.BytesIO()
    picture.convert("RGB").quantize(COLORS).save(small, "PNG", optimize=True)
    data["image/png"] = base64.b64encode(small.getvalue()).decode("ascii")
    data["text/plain"] = "the picture"


if __name__ == "__main__":
    main()

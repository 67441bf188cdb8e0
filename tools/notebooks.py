"""Notebooks from scripts, run from top to bottom: `python tools/notebooks.py [script ...]`.

A cell begins at a line `# %%`, a cell of Markdown at `# %% [markdown]`, whose lines are comments.
Without arguments all of examples/notebooks. Needs nbformat, nbclient and ipykernel.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"


def cells(script: Path) -> list[tuple[str, str]]:
    """What the cells of a script are, "markdown" or "code", and say."""
    parts = re.split(r"^# %%(.*)$", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = []
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        if title.strip() == "[markdown]":
            found.append(("markdown", re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)))
        else:
            found.append(("code", text.strip()))
    return found


def build(script: Path) -> Path:
    """Run the cells and write the notebook, with what they show, beside the script."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.v4.new_notebook()
    for index, (kind, text) in enumerate(cells(script)):
        make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        book.cells.append(make(text, id=f"cell-{index}"))
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            book, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    for cell in book.cells:
        cell.metadata = {}  # no times, so that the file changes only where its content does
        outputs = cell.get("outputs", [])
        cell["outputs"] = [
            out for out in outputs if not (out.output_type == "stream" and out.name == "stderr")
        ]
        if cell.cell_type != "code":
            del cell["outputs"]
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    path = script.with_suffix(".ipynb")
    nbformat.write(book, path)
    return path


if __name__ == "__main__":
    for script in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(FOLDER.glob("*.py")):
        print(build(script), flush=True)

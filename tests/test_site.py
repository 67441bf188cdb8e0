"""The site: it builds without a warning, every link in it leads somewhere, nothing is loaded from
elsewhere; notebooks and figures are what their sources make of them."""

import importlib.util
import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from support import only

import keras_htaf
from keras_htaf.interpret.results import Result

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
HOST = "http://site"


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors = set(), set(), {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        if given.get(self.LOADS.get(tag)) and given.get("rel") != "canonical":
            self.loads.add(given[self.LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("latex2mathml", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Pages by their address; 404.html has absolute links of its own."""
    files = [file for file in site.rglob("*.html") if file.name != "404.html"]
    return {
        f"{HOST}/{file.relative_to(site).as_posix().removesuffix('index.html')}": Page(
            file.read_text(encoding="utf-8")
        )
        for file in files
    }


# The site is the same under every backend.
@only["torch"]
def test_every_link_leads_somewhere(site, pages):
    dead = []
    for address, page in pages.items():
        for link in page.links | page.loads:
            target, anchor = urldefrag(urljoin(address, link))
            if not target.startswith(HOST):
                assert link in page.links, f"{address} loads {link}"
                continue
            if target in pages:
                if unquote(anchor) not in pages[target].anchors:
                    dead.append((address, link))
            elif not (site / unquote(urlsplit(target).path).lstrip("/")).is_file():
                dead.append((address, link))
    assert len(pages) > 25
    assert not dead


@only["torch"]
def test_styles_load_nothing_from_elsewhere(site):
    for file in site.rglob("*.css"):
        text = file.read_text(encoding="utf-8")
        assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)|@import", text), file


@only["torch"]
def test_api_has_every_public_name(pages):
    anchors = set().union(*(page.anchors for page in pages.values()))
    rooms = "callbacks constraints datasets distillation exchange export hardening initializers"
    rooms += " interpret layers losses metrics models neurons ops optimizers packed pictures"
    rooms += " quantizers regularizers surrogates distribution jobs serving training"
    returned = {*keras_htaf.costs.__all__, *keras_htaf.diagnosis.__all__} | {
        each.__name__ for each in Result.__subclasses__()
    }
    assert {*rooms.split()} <= {*keras_htaf.__all__}
    # The last part of the path: a module may have the name of what is in it, or be elsewhere.
    shown = {anchor.split(".")[-1] for anchor in anchors if anchor.startswith("keras_htaf")}
    assert {*keras_htaf.__all__} - {*rooms.split()} <= shown
    assert returned <= shown, returned - shown
    for room in (getattr(keras_htaf, room) for room in rooms.split()):
        names = {name for name in getattr(room, "__all__", []) if callable(getattr(room, name))}
        assert names <= shown, names - shown


@only["torch"]
def test_formulas_are_drawn_and_examples_are_code(pages, site):
    maths = (site / "maths" / "index.html").read_text(encoding="utf-8")
    assert maths.count("<math") > 50
    assert "arithmatex" not in maths
    layers = (site / "api" / "layers" / "index.html").read_text(encoding="utf-8")
    assert "<blockquote>" not in layers  # a doctest that Markdown took for a quotation


@only["jax"]
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook(file, tmp_path, monkeypatch):
    """The notebook has its script's cells and no error; the script runs."""
    tool = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
    notebooks = importlib.util.module_from_spec(tool)
    tool.loader.exec_module(notebooks)
    book = json.loads(file.read_text(encoding="utf-8"))
    script = file.with_suffix(".py")
    said = [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]]
    assert said == notebooks.cells(script)
    outputs = [out for cell in book["cells"] for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} <= {"stream", "display_data", "execute_result"}
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 3

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_path(str(script))


@only["torch"]
def test_figures_of_results_are_made_of_their_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "figures"))
    import results
    import style

    monkeypatch.setattr(style, "FOLDER", tmp_path)
    results.speed()
    results.depth()
    for name in ("speed.svg", "depth.svg"):
        assert (tmp_path / name).stat().st_size > 10_000

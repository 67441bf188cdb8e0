"""The benchmark of the report; what the report must be for many images and bits."""

import sys
from pathlib import Path

import pytest
from support import only

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "bench"))

import report

pytest.importorskip("playwright.sync_api", reason="needs playwright")
# The file is the same on all backends.
pytestmark = [
    only["tensorflow"],
    pytest.mark.skipif(report.browser() is None, reason="needs Chromium"),
]


def test_it_prints_what_it_measured(tmp_path, monkeypatch, capsys):
    out = tmp_path / "report.html"
    options = ["--images", "50", "--bits", "8", "--no-sparse", "--out", str(out)]
    options += ["--pictures", str(tmp_path / "pictures")]
    monkeypatch.setattr(sys, "argv", ["report.py", *options])
    report.main()
    printed = capsys.readouterr().out
    assert "50 images of (32, 32, 3), 8 bits, shapes, train part" in printed
    assert "said by the console     nothing" in printed
    assert "MB" in printed
    names = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert names == {f"report-{name}.png" for name in ("overview", "bit", "class", "image")}


@pytest.mark.slow
def test_ten_thousand_images_open_at_once(tmp_path):
    """At most 25 MB, open in less than 3 seconds, and no word of the console."""
    analysis = report.analysed(report.load("shapes", 10_000), 10_000, 256)
    assert analysis.codes.bits.shape == (10_000, 256)
    path = analysis.report(tmp_path / "report.html", sparse=False)
    assert path.stat().st_size <= 25e6
    seconds, said = report.opened(path)
    assert sorted(seconds)[1] < 3
    assert not said

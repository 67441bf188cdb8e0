"""The report and the exports: self-contained, escaped, and the same numbers as the analysis."""

import base64
import csv
import hashlib
import io
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from report_case import CLASSES, EVIL, X, analysis_of_noise, array, data_of

from keras_htaf.interpret import ConceptAnalysis
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.report.charts import flip_bars, gap_chart
from keras_htaf.interpret.report.pictures import atlas, shown
from keras_htaf.interpret.report.places import _shrunk
from keras_htaf.interpret.report.selection import choose_samples

HISTORY = {"smooth_accuracy": [0.1, 0.5, 0.8, 0.9], "hard_accuracy": [0.2, 0.5, 0.7, 0.9]}


@pytest.fixture(scope="module")
def analysis():
    return analysis_of_noise()


@pytest.fixture(scope="module")
def html(analysis, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    options = {"title": "<i>Noise</i>", "history": HISTORY, "samples": 8, "gallery": 3}
    assert analysis.report(path, **options) == path
    return path.read_text(encoding="utf-8")


def test_it_needs_no_network(html):
    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            links.extend(value for name, value in attrs if name in ("src", "href", "srcset"))

    Links().feed(html)
    links += re.findall(r"url\([\"']?([^\"')]+)", html.split("<script")[0])
    assert all(link.startswith(("#", "data:")) for link in links)
    (policy,) = re.findall(r'Security-Policy" content="([^"]*)"', html)
    assert "default-src 'none'" in policy
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy.replace("&#39;", "'")


def test_names_are_escaped(html):
    assert EVIL not in html
    assert "<b>two</b>" not in html
    assert "<title>&lt;i&gt;Noise&lt;/i&gt;</title>" in html
    data = data_of(html)
    assert data["names"][2] == EVIL
    assert tuple(data["classes"]) == CLASSES


def test_it_says_what_it_cannot_tell(html):
    assert "Implicit concepts are not human concepts." in html
    assert "Hard bits limit leakage but do not end it" in html
    assert "1 bit is never on and says nothing" in html


def test_the_page_has_the_same_numbers(html, analysis):
    data, codes = data_of(html), analysis.codes
    weights = array(data["weights"], "<f8").reshape(8, 3)
    np.testing.assert_array_equal(weights, codes.weights)
    bits = np.unpackbits(array(data["codes"], "u1").reshape(60, -1), axis=1, count=8)
    np.testing.assert_array_equal(bits, codes.bits)
    logits = bits @ weights + array(data["bias"], "<f8")
    np.testing.assert_array_equal(logits, codes.logits)
    np.testing.assert_array_equal(array(data["decisions"], "<u2"), codes.decisions)
    np.testing.assert_array_equal(array(data["labels"], "<u2"), codes.labels)
    assert sum(sum(bit["histogram"]["counts"]) for bit in data["bits"]) == 60 * 8
    for j, bit in enumerate(data["bits"]):
        below = bit["histogram"]["below"]
        assert sum(bit["histogram"]["counts"][below:]) == pytest.approx(codes.bits[:, j].sum())
        assert all(codes.bits[i, j] for i in [*bit["strongest"], *bit["random"]])
    assert data["bits"][7]["random"] == []
    for sample in data["samples"]:
        explained = analysis.explain(sample["id"])
        assert sample["sufficient"] == explained.sufficient.bits.tolist()
        assert sample["flips"] == explained.counterfactual.flips.tolist()
    maps = data["maps"]
    values = array(maps["values"], "i1").reshape(-1, maps["height"], maps["width"])
    for pair, place in list(maps["pairs"].items())[:5]:
        image, bit = map(int, pair.split(","))
        mean = values[place].mean() * maps["scales"][str(bit)] / 127
        assert mean == pytest.approx(codes.z[image, bit], abs=maps["scales"][str(bit)] / 100)


def test_codes_alone_are_enough(tmp_path):
    """Without a model and images there are no pictures and maps, and all else."""
    bits = np.random.default_rng(0).random((30, 3)) < 0.5
    codes = Codes(bits, [[1.0, 0], [0, 2], [0, 0]], [0.5, 0], labels=bits[:, 0])
    path = ConceptAnalysis(codes).report(tmp_path / "a.html", samples=[3, 3, 5], sparse=False)
    data = data_of(path.read_text(encoding="utf-8"))
    assert data["pictures"] is None
    assert data["maps"] is None
    assert [sample["id"] for sample in data["samples"]] == [3, 5]
    assert data["rules"]["exact"]


def test_what_cannot_be_had_is_said(tmp_path):
    """One class only, and a head that uses no bit."""
    codes = Codes(np.eye(4), np.ones((4, 2)), [1.0, 0], labels=np.zeros(4))
    html = ConceptAnalysis(codes).report(tmp_path / "a.html", samples=2).read_text(encoding="utf-8")
    assert "samples of one class only" in html
    assert "no bit decides anything" in data_of(html)["scorecard"]["missing"]
    assert data_of(html)["samples"][0]["flips"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maps": "guess"}, "Expected one of"),
        ({"history": {"loss": [1.0]}}, "DiscretizationGap"),
        ({"gallery": -1}, "gallery=-1"),
        ({"sparse": None}, "sparse=None"),
        ({"sparse": 1}, "sparse=1"),
        ({"pixels": X[:5]}, "5 images to show for 60"),
        ({"samples": 0}, "positive integer"),
        ({"samples": [60]}, "from 0 to 59"),
    ],
)
def test_bad_arguments(analysis, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        analysis.report(tmp_path / "report.html", **options)
    assert not list(tmp_path.iterdir())


def test_exports(analysis, tmp_path):
    heads = analysis.sparse_heads(necs=[2])
    files = analysis.export(tmp_path / "out", heads=heads)
    assert {f.name for f in files} == {
        *("analysis.json", "bits.csv", "classes.csv", "samples.csv", "errors.csv"),
        *("bits.png", "nec.png"),
    }
    found = json.loads((tmp_path / "out/analysis.json").read_text(encoding="utf-8"))
    assert found["concept_names"][2] == EVIL
    with open(tmp_path / "out/samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["code"] for row in rows[:3]] == [
        "".join(map(str, bits)) for bits in analysis.codes.bits[:3].astype(int)
    ]
    formula = Codes([[0], [1]], np.eye(1, 2), [0, 0], labels=[0, 0], concept_names=["=1+1"])
    ConceptAnalysis(formula).export(tmp_path)
    assert "'=1+1" in (tmp_path / "bits.csv").read_text(encoding="utf-8")


def test_samples_of_all_groups(analysis):
    chosen = choose_samples(analysis.codes, analysis.flip_radii, 12, 0)
    assert len(dict(chosen)) == 12
    for number, group in chosen:
        wrong = analysis.codes.decisions[number] != analysis.codes.labels[number]
        assert group == "random" or wrong == (group == "wrong")


def test_pictures_are_where_the_page_looks(monkeypatch):
    from PIL import Image

    monkeypatch.setattr("keras_htaf.interpret.report.pictures._SIDE", 20)
    values = np.arange(7)
    pictures = np.broadcast_to(values[:, None, None, None] * 30, (7, 8, 8, 1)).astype("uint8")
    found = atlas(pictures, [3, 1, 6, 0, 5], 64)
    assert (found.columns, found.per_sheet, len(found.sheets)) == (2, 4, 2)
    sheets = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(s.split(",")[1])))) for s in found.sheets
    ]
    for place, number in enumerate(found.ids):
        sheet, rest = sheets[place // 4], place % 4
        assert (sheet[rest // 2 * 8, rest % 2 * 8 + 7] == 30 * number).all()
    assert atlas(np.zeros((1, 96, 64, 3), "uint8"), [0], 64).sheets[0].startswith("data:image/jpeg")


@pytest.mark.parametrize(
    ("pixels", "first", "last"),
    [
        (np.array([[0.0, 0.5], [1.0, 1.0]]), 0, 255),
        (np.array([[-1.0, 0.0], [0.0, 1.0]]), 0, 255),
        (np.array([[0, 8], [16, 16]], "uint8"), 0, 255),
        (np.array([[7, 8], [16, 200]], "uint8"), 7, 200),
        (np.zeros((2, 2)), 0, 0),
    ],
)
def test_shades(pixels, first, last):
    found = shown(pixels[None])
    assert found.shape == (1, 2, 2, 1)
    assert (found[0, 0, 0, 0], found[0, 1, 1, 0]) == (first, last)
    assert shown(np.zeros((1, 4, 4, 5))).shape == (1, 4, 4, 1)


def test_large_maps_are_shrunk_to_means():
    maps = np.random.default_rng(0).normal(size=(1, 28, 17, 2))
    small = _shrunk(maps)
    assert small.shape == (1, 14, 14, 2)
    np.testing.assert_allclose(small[0, 0, 0], maps[0, :2, :1].mean(axis=(0, 1)))


@pytest.mark.parametrize("missing", ["jinja2", "PIL", "scipy", "sklearn"])
def test_a_missing_package_is_missed_at_once(analysis, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr("keras_htaf.interpret.report.page.payload", pytest.fail)
    with pytest.raises(ImportError, match=r"keras-htaf\[interpret\]"):
        analysis.report(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("smooth", "exact", "message"),
    [
        ([0.5], [0.5, 0.6], "1 accuracies with smooth and 2 with exact"),
        ([np.nan, np.nan], [0.5, 0.6], "'smooth_accuracy' is .* finite"),
        ([0.5, 0.6], [], "'hard_accuracy' is"),
        ([0.5, 0.6], 0.5, "'hard_accuracy' is 0.5"),
        ([0.5, 0.6], ["a", "b"], "'hard_accuracy' is"),
        ([50, 60], [0.5, 0.6], "from 0 to 1"),
    ],
)
def test_histories_that_are_none(smooth, exact, message):
    with pytest.raises(ValueError, match=message):
        gap_chart({"smooth_accuracy": smooth, "hard_accuracy": exact})
    with pytest.raises(ValueError, match="DiscretizationGap"):
        gap_chart([smooth, exact])


def test_histories_with_gaps():
    chart = gap_chart({"smooth_accuracy": [np.nan, 0.5, 0.6], "hard_accuracy": [0.4, 0.5, np.nan]})
    assert [len(line.points) for line in chart.lines] == [2, 2]
    assert chart.rows[0] == ("1", "-", "40.00 %")
    early = {"smooth_accuracy": [0.5, np.nan, np.nan], "hard_accuracy": [0.4, np.nan, np.nan]}
    assert [len(line.points) for line in gap_chart(early).lines] == [1, 1]
    some = {"loss": [3, 2, 1], "smooth_accuracy": [0.5], "hard_accuracy": [0.5]}
    assert gap_chart(some).x_name == "measurement"


def test_charts():
    chart = gap_chart(HISTORY)
    assert chart.clipped
    assert {line.name for line in chart.lines} == {"smooth bits", "exact bits"}
    assert all(
        chart.left <= x <= chart.right and y <= chart.bottom for x, y in chart.lines[0].points
    )
    labels = sorted(line.label_y for line in chart.lines)
    assert labels[1] - labels[0] >= 17
    bars = flip_bars(np.array([1.0, 2.0, 2.0, 12.0, np.inf]))
    assert [bar.count for bar in bars] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert bars[-1].name == "no number"
    assert flip_bars(np.array([np.inf]))[-1].share == 1

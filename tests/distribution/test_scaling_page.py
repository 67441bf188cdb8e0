"""What docs/scaling.md shows must run."""

import re
from pathlib import Path

import keras_htaf

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_scaling_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(block, {"__name__": "__main__"})
    model = keras_htaf.load_model("model.keras")
    assert float(model.get_layer("concepts").sharpness) == 8.0

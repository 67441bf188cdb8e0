"""How large a report is, and how soon a browser has opened it.

    python tools/bench/report.py [--images 10000] [--bits 256] [--data shapes] [--data-dir DIR]
        [--epochs 0] [--no-sparse] [--out report.html] [--pictures FOLDER]

Builds an ICBM on a small CNN, trains it on the training part for that many epochs (none: its bits
are then balanced by hand, so that all of them are at work), analyses images of 32 x 32 x 3 and
writes the report. The file is opened in headless Chromium, each time in a new page; it is open when
its script has run. Prints megabytes, seconds, and what the browser's console said; takes the
pictures of the documentation where these are asked for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


import keras
import numpy as np

from keras_htaf import callbacks, datasets, models
from keras_htaf.interpret import ConceptAnalysis, analyze

SIDE = 32
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def load(name: str, images: int, data_dir: str | None = None) -> datasets.Dataset:
    """A data set one of whose parts has at least that many images, if there are so many."""
    if name == "shapes":
        return datasets.shapes(num_images=max(3 * images // 2, 60), image_size=SIDE)
    return datasets.load(name, data_dir=data_dir)


def part_of(data: datasets.Dataset, images: int) -> str:
    """The part to analyse: test images, or where these are too few those of the training."""
    return "test" if len(data.test) >= images else "train"


def analysed(data: datasets.Dataset, images: int, bits: int, epochs: int = 0) -> ConceptAnalysis:
    """An analysis of images of `part_of` by a small ICBM."""
    keras.utils.set_random_seed(0)
    backbone = models.small_cnn(data.image_shape, width=16)
    model = models.icbm(backbone, bits, data.num_classes)
    x, y = getattr(data, part_of(data, images)).arrays(limit=images)
    if epochs:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(3e-3), loss)
        anneal = callbacks.AnnealSharpness(2.0, 16.0)
        batches = data.train.batches(64, shuffle=True)
        model.fit(batches, epochs=epochs, verbose=2, callbacks=[anneal])
    else:
        norm = model.get_layer("concept_norm")
        gamma, beta, mean, variance = norm.get_weights()
        few = analyze(model, x[:512], y[:512]).codes.z
        norm.set_weights([gamma, beta - np.median(few, axis=0), mean, variance])
    return analyze(model, x, y, class_names=data.class_names)


def browser() -> str | None:
    """The path of the system's Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def opened(path: Path, times: int = 3) -> tuple[list[float], list[str]]:
    """Seconds until the page stands, for each of some times, and all that the console said."""
    from playwright.sync_api import sync_playwright

    seconds, said = [], []
    with sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path=browser(), headless=True, args=FLAGS)
        for _ in range(times):
            page = chromium.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            start = time.perf_counter()
            page.goto(path.absolute().as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            seconds.append(time.perf_counter() - start)
            page.close()
        chromium.close()
    return seconds, said


def photographed(path: Path, folder: Path) -> list[Path]:
    """Pictures of a report: overview, chart of NEC if it has one, a bit, a class, an image."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path=browser(), headless=True, args=FLAGS)

        def opened_at(view, colours="light"):
            page = chromium.new_page(viewport={"width": 1180, "height": 900}, color_scheme=colours)
            page.goto(f"{path.absolute().as_uri()}#{view}")
            page.wait_for_selector("html[data-ready]", state="attached")
            return page

        def picture(page, name, top, bottom):
            file = folder / f"report-{name}.png"
            clip = {"x": 0, "y": top, "width": 1180, "height": bottom - top}
            page.screenshot(path=file, full_page=True, clip=clip)
            Image.open(file).convert("RGB").quantize(256).save(file, optimize=True)
            files.append(file)

        page = opened_at("overview")
        picture(page, "overview", 0, 1400)
        if page.locator("figure.chart").count():
            head = page.get_by_role("heading", name="How few bits").bounding_box()
            chart = page.locator("figure.chart").first.bounding_box()
            picture(page, "nec", head["y"] - 20, chart["y"] + chart["height"] + 20)
        data = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
        bit = int(np.argmax([each["information"] for each in data["bits"]]))
        pages = sorted(data["samples"], key=lambda each: each["group"] != "clear")
        picture(opened_at(f"bit-{bit}"), "bit", 0, 1240)
        picture(opened_at("class-0", "dark"), "class", 0, 1150)
        picture(opened_at(f"image-{pages[0]['id']}"), "image", 0, 1180)
        chromium.close()
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--bits", type=int, default=256)
    parser.add_argument("--data", default="shapes", choices=("shapes", "cifar10"))
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--no-sparse", action="store_true", help="without heads of few weights")
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the report")
    chosen = parser.parse_args()

    data = load(chosen.data, chosen.images, chosen.data_dir)
    start = time.perf_counter()
    analysis = analysed(data, chosen.images, chosen.bits, chosen.epochs)
    ran = time.perf_counter()
    analysis.summary(), analysis.classes, analysis.errors  # which are found when they are asked for
    summed = time.perf_counter()
    title = f"What the bits mean, on {chosen.data}"
    analysis.report(chosen.out, sparse=not chosen.no_sparse, title=title)
    written = time.perf_counter()
    codes = analysis.codes
    source = f"{chosen.data}, {part_of(data, chosen.images)} part"
    print(f"{len(codes):,} images of {data.image_shape}, {codes.num_bits} bits, {source}")
    print(f"model built and run in  {ran - start:.1f} s")
    print(f"analysed in             {summed - ran:.1f} s")
    print(f"report written in       {written - summed:.1f} s")
    print(f"size                    {chosen.out.stat().st_size / 1e6:.2f} MB")
    if browser() is None:
        print("not opened: there is no Chromium")
        return
    seconds, said = opened(chosen.out)
    print(f"opened in               {', '.join(f'{each:.2f}' for each in seconds)} s")
    print(f"said by the console     {said or 'nothing'}")
    if chosen.pictures is not None:
        for file in photographed(chosen.out, chosen.pictures):
            print(f"picture                 {file}")


if __name__ == "__main__":
    main()

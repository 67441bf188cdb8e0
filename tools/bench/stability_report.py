"""Tables and figures of the stability study, from the files that its runs wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import result_file
from matplotlib.figure import Figure
from stability_plan import DEPTHS, GAINS, GRID_PEAKS, GRID_RATES, RECIPE, SLOPES, START, Run

from keras_htaf.files import replacing

BASE = asdict(Run())
for _key in ("slope", "seed", "images"):
    del BASE[_key]
SLOPES = [name for name in SLOPES if name != "default"]


MOMENTS = ("before", "after")
FAILED = 80
"""Hard accuracy below which one of the study's short trainings counts as failed."""


class Results:
    """All runs of one backend and data set; missing ones leave a cell empty."""

    def __init__(self, file: Path):
        self.name = file.stem
        self.runs = result_file.read(file)
        self.shown: set[str] = set()
        """Keys of the runs that some table or figure has."""
        for run in self.runs:
            run["peaks"] = tuple(run["peaks"])
            if "smooth" in run:
                run["gap"] = run["smooth"] - run["hard"]

    def values(self, measure: str = "hard", **where) -> np.ndarray:
        """The measure of all seeds of one setting; what is not given is as in `BASE`."""
        where = {**BASE, **where}
        found = [
            run
            for run in sorted(self.runs, key=lambda run: run["seed"])
            if measure in run and all(run[key] == value for key, value in where.items())
        ]
        self.shown.update(run["key"] for run in found)
        return np.array([run[measure] for run in found])

    def cell(self, measure: str = "hard", **where) -> str:
        """Mean and standard deviation over the seeds."""
        values = self.values(measure, **where)
        if not len(values):
            return ""
        spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
        return f"{values.mean():.2f}{spread}"


def report(folder: Path) -> list[Path]:
    """Write `report-NAME.md` and figures for each file of results in the folder."""
    written = []
    for file in sorted(folder.glob("*.jsonl")):
        results = Results(file)
        path = folder / f"report-{results.name}.md"
        with replacing(path) as temporary:
            temporary.write_text("\n\n".join(sections(results)) + "\n", encoding="utf-8")
        for name, draw in (("sensitivity", _sensitivity), ("depth", _depth), ("gradients", _norms)):
            figure = draw(results)
            if figure is not None:
                with replacing(folder / f"{name}-{results.name}.png") as temporary:
                    figure.savefig(temporary, dpi=110)
        print(path)
        written.append(path)
    return written


def table(head: str, columns: Iterable[str], rows: dict[str, list[str]]) -> str:
    """A Markdown table; rows without any cell are left out."""
    columns = list(columns)
    lines = [f"| {head} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items() if any(cells)
    ]
    return "\n".join(lines) if len(lines) > 2 else ""


def sections(results: Results) -> Iterable[str]:
    """The parts of a report, each with its heading."""
    for title, section in (
        ("The recipe", _recipe),
        ("Slopes of equal peak and area", _slopes),
        ("Depth", _depths),
        ("Gradient norms through depth", _gradients),
        ("Learning rate", _rates),
        ("Sharpness", _peaks),
        ("Annealing", _annealing),
        ("Closing the gap of a smooth forward pass", _gaps),
        ("Calibration", _calibration),
        ("Runs that are in none of these tables", _others),
    ):
        text = section(results)
        if text:
            yield f"### {title}\n\n{text}"


def _recipe(results: Results) -> str:
    settings = {
        "12 layers, default recipe": {},
        "the same with ReLU": {"slope": "relu"},
        "24 layers": {"depth": 24},
        "12 layers without skips": {"skip": None},
        **{f"rate {rate:g}": {"rate": rate} for rate in (3e-4, 1e-3, 3e-3)},
        "ReLU, rate 0.001": {"slope": "relu", "rate": 1e-3},
    }
    plain = {"label_smoothing": 0.0}
    settings |= {
        f"{name}, labels not smoothed": {**where, **plain} for name, where in settings.items()
    }
    rows = {}
    for name, where in settings.items():
        values = results.values(**{**RECIPE, **where})
        if len(values):
            mean = results.cell(**{**RECIPE, **where})
            gaps = results.values("gap", **{**RECIPE, **where})
            gap = f"{gaps.mean():.2f} (at most {gaps.max():.2f})" if len(gaps) else ""
            counts = [str((values < 95).sum()), str(len(values))]
            rows[name] = [mean, f"{values.min():.2f}", *counts, gap]
    columns = ["hard, %", "worst", "below 95", "seeds", "gap to the smooth twin, points"]
    return table("MNIST, width 256, 10 epochs", columns, rows)


def _slopes(results: Results) -> str:
    peaks = {"fixed .33": (START,) * 2, "fixed .66": (2 * START,) * 2, "annealed": BASE["peaks"]}
    hard = table(
        "hard forward",
        peaks,
        {s: [results.cell(slope=s, peaks=p) for p in peaks.values()] for s in SLOPES},
    )
    columns = [f"{name}, {kind}" for name in peaks for kind in ("smooth", "hardened")]
    smooth = table(
        "smooth forward",
        columns,
        {
            s: [
                results.cell(measure, slope=s, peaks=p, forward="smooth")
                for p in peaks.values()
                for measure in ("smooth", "hard")
            ]
            for s in SLOPES
        },
    )
    return "\n\n".join(filter(None, (hard, smooth)))


_PLACES = {
    "batch normalisation": {},
    "batch normalisation, residual": {"skip": "residual"},
    "no normalisation": {"normalization": None},
}


def _depths(results: Results) -> str:
    return "\n\n".join(
        filter(
            None,
            (
                table(
                    place,
                    [f"{depth} layers" for depth in DEPTHS],
                    {
                        s: [results.cell(slope=s, depth=depth, **where) for depth in DEPTHS]
                        for s in SLOPES
                    },
                )
                for place, where in _PLACES.items()
            ),
        )
    )


def _grid(results: Results, values: tuple, where: Callable) -> str:
    """A table for each place: accuracy at each value, their mean (the area under the curve), the
    worst run of all and how many stayed below 80 %."""
    tables = []
    for place in ("batch normalisation", "no normalisation"):
        rows = {}
        for s in SLOPES:
            cells = [where(value, slope=s, **_PLACES[place]) for value in values]
            found = [results.values(**cell) for cell in cells]
            if all(len(each) for each in found):
                runs = np.concatenate(found)
                mean = np.mean([each.mean() for each in found])
                failed = f"{(runs < FAILED).sum()} of {len(runs)}"
                numbers = [f"{mean:.2f}", f"{runs.min():.2f}", failed]
                rows[s] = [*(results.cell(**cell) for cell in cells), *numbers]
        columns = [*(f"{value:g}" for value in values), "mean", "worst", f"below {FAILED}"]
        tables.append(table(place, columns, rows))
    return "\n\n".join(filter(None, tables))


def _rates(results: Results) -> str:
    return _grid(results, GRID_RATES, lambda value, **where: {"rate": value, **where})


def _peaks(results: Results) -> str:
    return _grid(results, GRID_PEAKS, lambda value, **where: {"peaks": (value, value), **where})


def _annealing(results: Results) -> str:
    """Annealed minus fixed slopes at one rate, seed by seed."""
    columns = {
        f"{place}, {peak:g}": {**_PLACES[place], "peaks": (peak, peak)}
        for place in ("batch normalisation", "no normalisation")
        for peak in sorted({*GRID_PEAKS[:2], START, 2 * START})
    }
    rows = {}
    for s in SLOPES:
        cells = []
        for where in columns.values():
            fixed = results.values(slope=s, **where)
            annealed = results.values(slope=s, **{**where, "peaks": BASE["peaks"]})
            gain = annealed - fixed if len(fixed) == len(annealed) > 1 else None
            cells.append("" if gain is None else f"{gain.mean():+.2f} ± {gain.std(ddof=1):.2f}")
        rows[s] = cells
    kept = [i for i in range(len(columns)) if any(cells[i] for cells in rows.values())]
    names = list(columns)
    return table(
        "annealed minus fixed",
        [names[i] for i in kept],
        {s: [cells[i] for i in kept] for s, cells in rows.items()},
    )


def _gradients(results: Results) -> str:
    """The norm at the first step over that at the last: medians of the seeds."""
    rows = {}
    for s in SLOPES:
        cells = []
        for skip in (None, "residual"):
            for moment in MOMENTS:
                norms = _norms_through_depth(results, s, skip, moment)
                cells.append(f"{norms[0]:.2g}" if norms is not None else "")
        rows[s] = cells
    columns = [f"{skip}, {when} training" for skip in ("plain", "residual") for when in MOMENTS]
    return table("24 layers", columns, rows)


def _norms_through_depth(results, slope, skip, moment) -> np.ndarray | None:
    where = {"slope": slope, "depth": 24, "skip": skip, "diagnosed": True}
    found = results.values("gradients", **where)
    norms = [[np.nan if n is None else n for n in each[moment]] for each in found]
    return np.median(norms, axis=0) if norms else None


def _gaps(results: Results) -> str:
    closings = {
        "smooth to the end": None,
        "the same, statistics estimated anew": "statistics",
        "softness penalty": "softness",
        "hard in the last 30 %": "last phase",
        "hard layer by layer": "layer by layer",
        "hard with rising probability": "rising probability",
    }
    rows = {
        "hard from the start": [
            cell
            for skip in (None, "residual")
            for cell in ("", results.cell(slope="HTAF", skip=skip))
        ]
    }
    for name, closing in closings.items():
        rows[name] = [
            results.cell(measure, slope="HTAF", skip=skip, forward="smooth", closing=closing)
            for skip in (None, "residual")
            for measure in ("smooth", "hard")
        ]
    columns = ["plain, smooth", "plain, hard", "residual, smooth", "residual, hard"]
    return table("forward pass", columns, rows)


def _calibration(results: Results) -> str:
    rows = {}
    for slope in ("HTAF", "Sigmoid", "ATan"):
        for calibrated in (False, True):
            rows[f"{slope}{', calibrated' if calibrated else ''}"] = [
                results.cell(
                    slope=slope, skip=skip, normalization=None, gain=gain, calibrated=calibrated
                )
                for skip in (None, "residual")
                for gain in GAINS
            ]
    columns = [f"{skip}, kernels x {g:g}" for skip in ("plain", "residual") for g in GAINS]
    return table("no normalisation", columns, rows)


def _others(results: Results) -> str:
    """Each setting, by what differs from the study's usual one, and its seeds."""
    settings: dict[str, list[float]] = {}
    for run in results.runs:
        if run["key"] not in results.shown:
            differs = {**BASE, "images": Run().images}
            words = [f"{k} {run[k]}" for k, usual in differs.items() if run[k] != usual]
            settings.setdefault(", ".join([run["slope"], *words]), []).append(run["hard"])
    return "\n".join(
        f"- {name}: {np.mean(hard):.2f} % ({len(hard)} seed{'s' if len(hard) > 1 else ''})"
        for name, hard in settings.items()
    )


def _style(i: int) -> dict:
    # HTAF stands out among the palette's colours, and its twin shows where it lies on it.
    styles = {0: {"color": "black", "linewidth": 2.2}, 1: {"linestyle": (0, (3, 3)), "zorder": 4}}
    return {"color": f"C{i}", "zorder": 3, **styles.get(i, {})}


def _lines(axes, results, values, where) -> bool:
    drawn = False
    for i, slope in enumerate(SLOPES):
        found = [results.values(slope=slope, **where(value)) for value in values]
        if not all(len(f) for f in found):
            continue
        drawn = True
        axes.errorbar(
            values,
            [f.mean() for f in found],
            [f.std(ddof=1) if len(f) > 1 else 0.0 for f in found],
            marker="osd^v<>P"[i],
            markersize=4,
            capsize=2,
            label=slope,
            **_style(i),
        )
    axes.grid(alpha=0.3)
    return drawn


def _ticks(axes, values) -> None:
    """The values of a grid, and no others, on a logarithmic axis."""
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def _sensitivity(results: Results) -> Figure | None:
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    places = ("batch normalisation", "no normalisation")
    drawn = False
    for row, place in zip(figure.subplots(2, 2, sharey="row"), places, strict=True):
        for axes, key, values in zip(row, ("rate", "peaks"), (GRID_RATES, GRID_PEAKS), strict=True):

            def where(value, key=key, place=place):
                return {key: (value, value) if key == "peaks" else value, **_PLACES[place]}

            drawn |= _lines(axes, results, values, where)
            _ticks(axes, values)
            label = "learning rate (annealed)" if key == "rate" else "peak of the slope (fixed)"
            axes.set(title=f"12 layers, {place}", xlabel=label, ylabel="hard accuracy, %")
    if drawn:
        figure.axes[0].legend(fontsize=8)
    return figure if drawn else None


def _depth(results: Results) -> Figure | None:
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    drawn = False
    for axes, (place, where) in zip(figure.subplots(1, 3), _PLACES.items(), strict=True):
        drawn |= _lines(axes, results, DEPTHS, lambda depth, where=where: {"depth": depth, **where})
        low, high = axes.get_ylim()
        axes.set(
            title=f"{place}\n(the axis spans {high - low:.2g} points)",
            xlabel="layers",
            ylabel="hard accuracy, %",
            xticks=DEPTHS,
        )
    if drawn:
        figure.axes[0].legend(fontsize=8)
    return figure if drawn else None


def _norms(results: Results) -> Figure | None:
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    drawn = False
    for row, moment in zip(figure.subplots(2, 2, sharex=True, sharey=True), MOMENTS, strict=True):
        for axes, skip in zip(row, (None, "residual"), strict=True):
            for i, slope in enumerate(SLOPES):
                norms = _norms_through_depth(results, slope, skip, moment)
                if norms is not None:
                    drawn = True
                    axes.plot(range(1, len(norms) + 1), norms, label=slope, **_style(i))
            title = "residual stream" if skip else "plain chain"
            axes.set(title=f"24 layers, {title}, {moment} training", yscale="log")
            axes.set(xticks=(1, 6, 12, 18, 24), xlabel="layer")
            axes.grid(alpha=0.3)
        row[0].set_ylabel("gradient norm against the last layer")
    if drawn:
        figure.axes[0].legend(fontsize=8)
    return figure if drawn else None

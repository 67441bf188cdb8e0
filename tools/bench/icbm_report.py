"""The Markdown tables of docs/results/icbm.md, from the lines that `icbm.py run` wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import result_file

from keras_htaf.files import replacing


def report(folder: Path) -> Path | None:
    """Write `report.md` about all results of a folder; None if there are none."""
    runs = [run for file in sorted(folder.glob("*.jsonl")) for run in result_file.read(file)]
    if not runs:
        return None
    path = folder / "report.md"
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(sections(runs)) + "\n", encoding="utf-8")
    return path


def sections(runs: list[dict]) -> Iterable[str]:
    """The tables, in the order of the page."""
    groups = grouped(runs)
    yield "## Settings"
    yield _table(
        [
            *("data", "backbone", "parameters", "images", "epochs", "bits", "forward, alpha"),
            *("seeds", "core-seconds of a pair"),
        ],
        groups,
        lambda group: [
            f"{group[0]['parameters']:,}",
            f"{group[0]['train_images']:,} + {group[0]['measured_images']:,}",
            group[0]["epochs"],
            group[0]["concepts"],
            f"{group[0]['forward']}, to {group[0]['alpha_end']:g}",
            len(group),
            f"{np.mean([run['core_seconds'] for run in group]):.0f}",
        ],
    )
    yield "## Accuracy"
    yield _table(
        [
            *("data", "backbone", "dense twin", "smooth", "**exact**", "exact - dense", "worst"),
            *("gap", "random bits of features", "random bits of pixels"),
        ],
        groups,
        lambda group: [
            spread(group, "dense"),
            spread(group, "smooth"),
            f"**{spread(group, 'hard')}**",
            f"{np.mean(_lead(group)):+.2f}",
            f"{np.min(_lead(group)):+.2f}",
            spread(group, "gap"),
            mean(run["random_features"][-1] for run in group),
            mean(run["random_pixels"][-1] for run in group),
        ],
    )
    yield "## Accuracy against the number of effective concepts of a class"
    for data in dict.fromkeys(data for data, _ in groups):
        own = {key: group for key, group in groups.items() if key[0] == data}
        yield _necs(data, own)
    yield "## Bits"
    yield _table(
        [
            *("data", "backbone", "dead", "always on", "effective", "A*", "single codes"),
            *("certified", "agree"),
        ],
        groups,
        lambda group: [
            f"{np.mean([run['dead'] for run in group]):.1f}",
            f"{np.mean([run['always_on'] for run in group]):.1f}",
            f"{np.mean([run['effective_bits'] for run in group]):.1f} of {group[0]['concepts']}",
            *(mean(run[name] for run in group) for name in ("ceiling", "single")),
            *(mean(run[name] for run in group) for name in ("certified", "agreement")),
        ],
    )
    known = {key: [r for r in group if "purity" in r] for key, group in groups.items()}
    known = {key: group for key, group in known.items() if group}
    if known:
        yield "## Purity: best F1 of a bit for each known attribute"
        yield _purity(known)


def grouped(runs: list[dict]) -> dict[tuple[str, str], list[dict]]:
    """Runs of one data set, backbone and setting, over the seeds."""
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        settings = run["key"].replace(f"seed={run['seed']} ", "")
        groups.setdefault((run["data"], run["backbone"], run["backend"], settings), []).append(run)
    several = len({key[:2] for key in groups}) < len(groups)
    return {
        (data, f"{backbone} ({backend}, {settings})" if several else backbone): group
        for (data, backbone, backend, settings), group in groups.items()
    }


def spread(group: list[dict], name: str) -> str:
    """Mean of a measure, with the standard deviation if there are several seeds."""
    return result_file.mean([run[name] for run in group])


def mean(values: Iterable[float]) -> str:
    return f"{np.mean(list(values)):.2f}"


def _lead(group) -> list[float]:
    return [run["hard"] - run["dense"] for run in group]


def _necs(data: str, groups) -> str:
    first = next(iter(groups.values()))[0]
    columns = [f"NEC {k}" for k in first["necs"]]
    lines = [
        f"| {data}, test accuracy, % | head | {' | '.join(columns)} | all | dense twin |",
        "|---" * (len(columns) + 4) + "|",
    ]
    for (_, backbone), group in groups.items():
        rows = {
            kind: [
                [*run["heads"][kind], run["refitted"] if kind == "per class" else None]
                for run in group
            ]
            for kind in first["heads"]
        }
        rows["random bits of features"] = [run["random_features"] for run in group]
        rows["random bits of pixels"] = [run["random_pixels"] for run in group]
        for kind, values in rows.items():
            cells = ["" if None in column else mean(column) for column in zip(*values, strict=True)]
            twin = mean(run["dense"] for run in group) if kind == "per class" else ""
            lines.append(f"| {backbone} | {kind} | {' | '.join(cells)} | {twin} |")
    return "\n".join(lines)


def _purity(groups) -> str:
    names = next(iter(groups.values()))[0]["purity"]["attributes"]
    lines = [f"| | {' | '.join(names)} | mean |", "|---" * (len(names) + 2) + "|"]
    for (_, backbone), group in groups.items():
        for row, label in (
            ("best_f1", backbone),
            ("random_f1", f"{backbone}: random bits of pixels"),
            ("null_high", f"{backbone}: 95 % of shuffled attributes"),
        ):
            values = np.mean([run["purity"][row] for run in group], axis=0)
            cells = [f"{value:.2f}" for value in [*values, values.mean()]]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(columns: list[str], groups, cells: Callable[[list[dict]], list]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (data, backbone), group in groups.items():
        lines.append(f"| {' | '.join(map(str, [data, backbone, *cells(group)]))} |")
    return "\n".join(lines)

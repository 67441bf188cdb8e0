"""What the page's script works on, as JSON has it; arrays are base64 of their bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_htaf.interpret.explanations import Explanation
from keras_htaf.interpret.names import fingerprint
from keras_htaf.interpret.report.pictures import Atlas, atlas, shown
from keras_htaf.interpret.report.places import Places, places
from keras_htaf.interpret.report.selection import at_random, choose_samples, strongest
from keras_htaf.interpret.results import plain

if TYPE_CHECKING:
    from keras_htaf.interpret.analysis import ConceptAnalysis

_THUMBNAIL, _LARGE = 64, 160
"""Longest sides of pictures, in pixels."""
_MAPS_OF_A_SAMPLE = 6
_BARS = 32
_MOST_OCCLUDED = 256
"""Images that are looked at by occlusion, which runs the model for each part of each."""


@dataclass(frozen=True)
class Payload:
    """The numbers of a page and its pictures."""

    data: dict
    small: Atlas | None
    large: Atlas | None

    @property
    def atlases(self) -> dict[str, Atlas]:
        """By the prefix of their style classes."""
        both = {"small": self.small, "large": self.large}
        return {name: each for name, each in both.items() if each is not None}


def payload(
    analysis: ConceptAnalysis,
    *,
    train: ConceptAnalysis | None,
    pixels: np.ndarray | None,
    samples: int | Sequence[int],
    gallery: int,
    maps: str | None,
    seed: int,
) -> Payload:
    """Everything but the parts that templates write themselves."""
    codes, health, view = analysis.codes, analysis.health, analysis.classes
    chosen = choose_samples(codes, analysis.flip_radii, samples, seed)
    explained = [(analysis.explain(number, nodes=400), group) for number, group in chosen]
    rng = np.random.default_rng(seed)
    galleries = [
        (strongest(codes, j, gallery).tolist(), at_random(codes, j, gallery, rng).tolist())
        for j in range(codes.num_bits)
    ]
    found = _places(analysis, galleries, explained, maps)
    small, large = _pictures(analysis, pixels, galleries, explained)
    data = {
        "model": fingerprint(codes.weights, codes.bias),
        "samples_in_all": len(codes),
        "classes": codes.class_names,
        "names": codes.concept_names,
        "weights": packed(codes.weights, "<f8"),
        "bias": packed(codes.bias, "<f8"),
        "usage": packed(codes.usage, "<f8"),
        "codes": packed(codes.packed, "u1"),
        "labels": packed(codes.labels, "<u2"),
        "decisions": packed(codes.decisions, "<u2"),
        "given": packed(view.given_class, "<f4"),
        "effect": packed(view.effect, "<f4"),
        "bits": [
            {
                "information": _short(view.information[j]),
                "flip_rate": _short(view.flip_rate[j]),
                "redundancy": _short(health.redundancy[j]),
                "partner": int(health.partner[j]),
                "complement": bool(health.complement[j]),
                "ambiguous": None if health.ambiguous is None else _short(health.ambiguous[j]),
                "histogram": None if codes.z is None else _histogram(codes.z[:, j]),
                "strongest": galleries[j][0],
                "random": galleries[j][1],
                "attribute": _attribute(analysis, j),
            }
            for j in range(codes.num_bits)
        ],
        "class_samples": view.samples,
        "rules": optional(lambda: _rules(analysis, train)),
        "scorecard": optional(lambda: _scorecard(analysis, train)),
        "samples": [_sample(each, group) for each, group in explained],
        "errors": _errors(analysis, None if small is None else set(small.ids)),
        "maps": None if found is None else _maps(found),
        "cams": _cams(analysis, explained) if found is not None else None,
        "pictures": None if small is None else small.geometry(),
        "large_pictures": None if large is None else large.geometry(),
    }
    return Payload(plain(data), small, large)


def packed(array, dtype: str) -> str:
    """The bytes of an array, row after row, as base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def optional(function: Callable[[], dict]) -> dict:
    """What a function returns, or, where it cannot be had, why."""
    try:
        return function()
    except ValueError as error:
        return {"missing": str(error)}


def _short(number) -> float:
    return round(float(number), 5)


def _histogram(z) -> dict:
    """Counts of equally wide parts, 0 between two of them."""
    low, high = min(float(z.min()), 0.0), max(float(z.max()), 0.0)
    width = (high - low) / (_BARS - 1) or 1.0
    below, above = int(np.ceil(-low / width)), int(np.ceil(high / width)) or 1
    edges = width * np.arange(-below, above + 1)
    # The least and the largest must not be lost by rounding.
    counts = np.histogram(np.clip(z, edges[0], edges[-1]), edges)[0]
    return {"counts": counts, "below": below, "low": _short(edges[0]), "high": _short(edges[-1])}


def _attribute(analysis, bit) -> dict | None:
    """The attribute that the bit fits best, where that is better than chance."""
    if analysis.attributes is None:
        return None
    found = analysis.purity
    best = int(found.f1[:, bit].argmax())
    if found.f1[best, bit] <= found.null_high[best]:
        return None
    return {
        "name": analysis.attribute_names[best],
        "f1": _short(found.f1[best, bit]),
        "negated": bool(found.negated[best, bit]),
    }


def _rules(analysis, train) -> dict:
    rules = analysis.rules(train, seconds=2.0)
    return {
        "exact": rules.exact,
        "fidelity": rules.fidelity,
        "rules": [
            {"terms": r.terms, "precision": r.precision, "coverage": r.coverage}
            for r in rules.rules
        ],
    }


def _scorecard(analysis, train) -> dict:
    card = analysis.scorecard(train)
    keys = ("points", "base", "accuracy", "head_accuracy", "agreement")
    return {key: getattr(card, key) for key in keys}


def _sample(explained: Explanation, group: str) -> dict:
    other = explained.counterfactual
    return {
        "id": explained.index,
        "group": group,
        "sufficient": explained.sufficient.bits,
        "minimum": explained.sufficient.minimum,
        "at_least": explained.sufficient.at_least,
        "flips": None if other is None else other.flips,
        "neighbours": np.stack(
            [explained.neighbours.samples[0], explained.neighbours.distances[0]], axis=1
        ),
        "maps": _looked_at(explained),
    }


def _looked_at(explained: Explanation) -> list[int]:
    """The bits that move the lead over the runner-up most, which get maps."""
    order = np.argsort(-np.abs(explained.against()), kind="stable")
    return order[:_MAPS_OF_A_SAMPLE].tolist()


def _errors(analysis, pictured: set[int] | None) -> list[dict]:
    """Groups of errors; of their samples those that have pictures come first, ten at most."""
    groups = analysis.errors.groups()
    for group in groups:
        known = pictured or set()
        group["samples"] = sorted(group["samples"], key=lambda i: i not in known)[:10]
    return groups


def _places(analysis, galleries, explained, method) -> Places | None:
    if analysis.run is None or analysis.x is None or analysis.x.ndim != 4 or method == "none":
        return None
    exact = analysis.locator.exact is not None and method != "occlusion"
    pairs = [(each.index, j) for each, _ in explained for j in _looked_at(each)]
    for kind in (0, 1):
        for j, images in enumerate(galleries):
            pairs += [(image, j) for image in images[kind]]
    if not exact:
        few = set(list(dict.fromkeys(image for image, _ in pairs))[:_MOST_OCCLUDED])
        pairs = [pair for pair in pairs if pair[0] in few]
    return places(analysis.locator, analysis.x, pairs, method)


def _maps(found: Places) -> dict:
    return {
        "kind": found.kind,
        "height": found.values.shape[1],
        "width": found.values.shape[2],
        "pairs": {f"{image},{bit}": place for (image, bit), place in found.pairs.items()},
        "values": packed(found.values, "i1"),
        "scales": {bit: _short(scale) for bit, scale in found.scales.items()},
    }


def _cams(analysis, explained) -> dict | None:
    if analysis.locator.features is None:
        return None
    cams = analysis.locator.eigen_cam(analysis.x[[each.index for each, _ in explained]])
    largest = cams.max(axis=(1, 2), keepdims=True)
    values = np.rint(127 * cams / np.where(largest > 0, largest, 1))
    return {"height": cams.shape[1], "width": cams.shape[2], "values": packed(values, "i1")}


def _pictures(analysis, pixels, galleries, explained) -> tuple[Atlas | None, Atlas | None]:
    source = analysis.x if pixels is None else np.asarray(pixels)
    if source is None or (pixels is None and source.ndim not in (3, 4)):
        return None, None
    if len(source) != len(analysis.codes):
        raise ValueError(
            f"Received {len(source)} images to show for {len(analysis.codes)} samples. Expected "
            "one for each."
        )
    pictures = shown(source)
    own = [each.index for each, _ in explained]
    near = [int(i) for each, _ in explained for i in each.neighbours.samples[0]]
    wrong = [i for group in analysis.errors.groups() for i in group["samples"][:5]]
    of_bits = [image for both in galleries for images in both for image in images]
    small = atlas(pictures, list(dict.fromkeys([*own, *near, *of_bits, *wrong])), _THUMBNAIL)
    fine = max(pictures.shape[1:3]) > _THUMBNAIL
    return small, atlas(pictures, own, _LARGE) if fine else None

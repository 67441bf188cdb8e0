"""Where on an image each concept is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_htaf.interpret.codes import check_positive
from keras_htaf.interpret.results import Result
from keras_htaf.layers import ConceptGroups
from keras_htaf.models.icbm import concept_maps
from keras_htaf.quantizers import Step

METHODS = ("exact", "occlusion")
_FEW = 32


@dataclass(frozen=True, eq=False)
class ConceptMaps(Result):
    """Maps of b bits over n images; `Locator.maps` makes it."""

    kind: str
    """"exact": the mean of a map is exactly the bit's logit. "occlusion": each number is what the
    logit loses when that part of the image is painted over with the image's mean colour."""
    values: np.ndarray
    """(n, h, w, b) float32, in units of the concept logits: what speaks for the bit is positive."""
    bits: np.ndarray
    """Numbers of the bits, (b,)."""

    def upsampled(self, height: int, width: int) -> np.ndarray:
        """The maps at the size of the image, (n, height, width, b), bilinear.

        The mean stays the same where the size is a whole multiple of the map's.
        """
        return upsample(self.values, height, width)


class Locator:
    """Finds where concepts are seen; keeps the models that this takes.

    Args:
        model: A model that `collect` can read, with exact steps if it has several.
        concepts: Name of the step layer. Default "concepts".
        batch_size: Default 256.
    """

    def __init__(self, model: keras.Model, concepts: str = "concepts", batch_size: int = 256):
        step = model.get_layer(concepts)
        self.batch_size = batch_size
        self.signs = step.rise == 2
        self.logits = keras.Model(model.inputs[0], step.input)
        self.columns = _columns(model, step)
        self.exact = None if self.columns is None else concept_maps(model)
        last = _last_maps(model)
        self.features = None if last is None else keras.Model(model.inputs[0], last)

    def maps(
        self, images, bits: Sequence[int] | None = None, method: str | None = None, grid: int = 8
    ) -> ConceptMaps:
        """Maps of concepts over images.

        An ICBM pools before its linear map to concept logits, so that the same linear map of each
        place of the feature maps gives parts whose mean is the logit: exact maps. Models without
        that, or whose concepts were merged, get maps by occlusion (Zeiler and Fergus, 2014).

        Args:
            images: (n, h, w, c).
            bits: Numbers of the bits. Default all.
            method: "exact" or "occlusion". Default: exact where the model has such maps.
            grid: Occlusion paints over one of grid x grid parts at a time. Default 8.

        Returns:
            `ConceptMaps`.

        Raises:
            ValueError: If exact maps are asked for and the model has none, or an argument does not
                fit.
        """
        images = _checked(images)
        check_positive(grid=grid)
        if method not in (None, *METHODS):
            raise ValueError(f"Received method={method!r}. Expected None or one of {METHODS}.")
        if method == "exact" and self.exact is None:
            raise ValueError(
                "This model has no exact concept maps: its concept logits are no linear map of "
                "the mean of feature maps, as keras_htaf.models.icbm builds them, or concepts were "
                'merged. Use method="occlusion".'
            )
        count = self.logits.output_shape[-1]
        which = np.arange(count) if bits is None else np.asarray(bits)
        whole = which.ndim == 1 and which.dtype.kind in "iu"
        if not whole or ((which < 0) | (which >= count)).any():
            raise ValueError(f"Received bits={which}. Expected numbers from 0 to {count - 1}.")
        if self.exact is None or method == "occlusion":
            return ConceptMaps("occlusion", self._occluded(images, which, grid), which)
        values = self.run(self.exact, images)[..., np.asarray(self.columns)[which]]
        return ConceptMaps("exact", values, which)

    def on(self, images) -> np.ndarray:
        """The exact bits of images, (n, m) bool."""
        z = self.run(self.logits, images)
        return z >= 0 if self.signs else z > 0

    def eigen_cam(self, images) -> np.ndarray:
        """Where the backbone's features are strong, whatever the concept: (n, h, w), at least 0.

        The projection of the last feature maps onto their first right singular vector, signed so
        that its sum is positive. It shows what the network looks at, not what for.

        Raises:
            ValueError: If the model has no feature maps.

        Reference: Muhammad and Yeasin (2020), "Eigen-CAM: class activation map using principal
        components".
        """
        if self.features is None:
            raise ValueError("This model has no layer that gives feature maps (n, h, w, c).")
        features = self.run(self.features, _checked(images))
        n, h, w, c = features.shape
        flat = features.reshape(n, h * w, c)
        first = np.linalg.svd(flat, full_matrices=False)[2][:, 0]
        projected = np.einsum("npc,nc->np", flat, first)
        projected *= np.where(projected.sum(axis=1, keepdims=True) < 0, -1, 1)
        return np.maximum(projected, 0).reshape(n, h, w)

    def run(self, model, images) -> np.ndarray:
        """What a model gives for images, float32, in batches of one of two sizes."""
        size = min(self.batch_size, _FEW if len(images) <= _FEW else self.batch_size)
        found = []
        for begin in range(0, len(images), size):
            part = images[begin : begin + size].astype(keras.config.floatx(), copy=False)
            # Filled up: each size would be compiled for itself.
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            given = np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(full)))
            found.append(given[: len(part)].astype("float32"))
        return np.concatenate(found)

    def _occluded(self, images, bits, grid) -> np.ndarray:
        height, width = images.shape[1:3]
        rows, columns = (_edges(size, grid) for size in (height, width))
        paint = images.mean(axis=(1, 2), keepdims=True)
        whole = self.run(self.logits, images)[:, bits]
        values = np.empty((len(images), len(rows) - 1, len(columns) - 1, len(bits)), "float32")
        for i, j in np.ndindex(values.shape[1:3]):
            hidden = images.copy()
            hidden[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = paint
            values[:, i, j] = whole - self.run(self.logits, hidden)[:, bits]
        return values


@dataclass(frozen=True, eq=False)
class MapScores(Result):
    """How bits go and come back with the pixels that their maps point to; `score_maps` makes it.

    A curve is the share of the pairs of image and bit on which the bit is on. Maps are good where
    deletion falls, and insertion rises, sooner than with the same maps' parts in random places.
    """

    kind: str
    """Of the maps."""
    pairs: int
    shares: np.ndarray
    """Of the pixels that were painted over, or shown, (s,) from 0 to 1."""
    deletion: np.ndarray
    """Pixels of the largest map values are painted over, (s,)."""
    insertion: np.ndarray
    """Only the pixels of the largest values are shown, (s,)."""
    random_deletion: np.ndarray
    """The same with each map's parts shuffled, (s,)."""
    random_insertion: np.ndarray

    @property
    def areas(self) -> dict[str, float]:
        """Area under each curve, from 0 to 1."""
        names = ("deletion", "insertion", "random_deletion", "random_insertion")
        curves = {name: getattr(self, name) for name in names}
        return {name: float(np.mean(c[1:] + c[:-1]) / 2) for name, c in curves.items()}


def score_maps(
    locator: Locator,
    images: np.ndarray,
    bits: np.ndarray,
    *,
    pairs: int = 64,
    steps: int = 8,
    method: str | None = None,
    seed: int = 0,
) -> MapScores:
    """Deletion and insertion curves of maps, on pairs of an image and a bit that is on.

    Pixels are painted over with the mean colour of the image.

    Args:
        locator: Of the model.
        images: (n, h, w, c).
        bits: The bits of the images, bool (n, m).
        pairs: How many are drawn. Default 64.
        steps: Of the curves. Default 8.
        method: As for `Locator.maps`.
        seed: Of the pairs and of the shuffled maps. Default 0.

    Raises:
        ValueError: If no bit is on, or an argument does not fit.
    """
    images = _checked(images)
    check_positive(pairs=pairs, steps=steps)
    on = np.argwhere(bits)
    if not len(on):
        raise ValueError("No bit is on for any of the images: there is nothing to delete.")
    rng = np.random.default_rng(seed)
    on = on[rng.permutation(len(on))[:pairs]]
    samples, which = np.unique(on[:, 0], return_inverse=True)
    found = locator.maps(images[samples], method=method)
    values = found.values[which, ..., on[:, 1]]
    shuffled = rng.permuted(values.reshape(len(on), -1), axis=1).reshape(values.shape)
    chosen = images[on[:, 0]].astype("float32")
    paint = np.broadcast_to(chosen.mean(axis=(1, 2), keepdims=True), chosen.shape)
    shares = np.linspace(0, 1, steps + 1)
    curves = []
    for maps in (values, shuffled):
        large = upsample(maps[..., None], *images.shape[1:3])[..., 0]
        order = np.argsort(-large.reshape(len(on), -1), axis=1, kind="stable")
        rank = np.argsort(order, axis=1).reshape(large.shape)
        for first, then in ((paint, chosen), (chosen, paint)):
            curve = []
            for share in shares:
                of_map = (rank < round(share * large[0].size))[..., None]
                seen = locator.on(np.where(of_map, first, then))
                curve.append(seen[np.arange(len(on)), on[:, 1]].mean())
            curves.append(np.array(curve))
    return MapScores(found.kind, len(on), shares, *curves)


def upsample(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps (n, h, w, b) at another size, bilinear between the centres of their parts.

    Example:

    >>> upsample(np.array([0.0, 4.0]).reshape(1, 1, 2, 1), 1, 4)[0, 0, :, 0]
    array([0., 1., 3., 4.])
    """
    maps = np.asarray(maps)
    rows, columns = _between(maps.shape[1], height), _between(maps.shape[2], width)
    return np.einsum("yh,xw,nhwb->nyxb", rows, columns, maps, optimize=True).astype(maps.dtype)


def _between(cells: int, size: int) -> np.ndarray:
    """What each of `cells` parts has in each of `size` pixels, (size, cells); rows add up to 1."""
    centres = (np.arange(size) + 0.5) * cells / size - 0.5
    return np.stack([np.interp(centres, np.arange(cells), part) for part in np.eye(cells)], axis=1)


def _edges(size: int, grid: int) -> np.ndarray:
    return np.linspace(0, size, min(grid, size) + 1).round().astype(int)


def _columns(model, step: Step) -> list[int] | None:
    """Which of the model's concept maps each bit has; None where these are not all exact."""
    layers = {layer.name: layer for layer in model.layers}
    if not {"concept_pool", "concept_logits"} <= set(layers):
        return None
    pool, dense = layers["concept_pool"], layers["concept_logits"]
    last = layers.get("concept_norm", dense)
    linear = isinstance(pool, keras.layers.GlobalAveragePooling2D) and dense.input is pool.output
    linear = linear and (last is dense or last.input is dense.output)
    columns, z = list(range(step.input.shape[-1])), step.input
    groups = {id(g.output): g for g in layers.values() if isinstance(g, ConceptGroups)}
    while (layer := groups.get(id(z))) is not None:
        if any(len(layer.groups[i]) > 1 for i in columns):
            return None
        columns, z = [layer.groups[i][0] for i in columns], layer.input
    return columns if linear and z is last.output else None


def _last_maps(model):
    """The last tensor of the model's own graph that has the shape of feature maps, or None."""
    found = None
    for layer in model.layers:
        # What a nested model calls its output is a tensor of its own graph.
        if not isinstance(layer, (keras.layers.InputLayer, keras.Model)):
            for tensor in (layer.input, layer.output):
                if len(getattr(tensor, "shape", ())) == 4 and tensor is not model.inputs[0]:
                    found = tensor
    return found


def _checked(images) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype.kind not in "fiub" or not images.size:
        raise ValueError(
            f"Received images of shape {images.shape} and dtype {images.dtype}. Expected numbers "
            "of shape (n, height, width, channels), at least one image."
        )
    return images if images.dtype.kind == "f" else images.astype("float32")

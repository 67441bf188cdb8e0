"""Raising the sharpness of the steps while a model trains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import keras
import numpy as np

from keras_htaf.hardening import units_among
from keras_htaf.layers import BinaryLayer
from keras_htaf.quantizers import Sloped
from keras_htaf.surrogates.base import SHARPNESSES, positive

_SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "exponential": lambda start, end, p: start * (end / start) ** p,
    "linear": lambda start, end, p: start + (end - start) * p,
    "cosine": lambda start, end, p: end + (start - end) * (1 + math.cos(math.pi * p)) / 2,
}


class AnnealSharpness(keras.callbacks.Callback):
    """Moves the sharpness of steps, and of `Ternary`, from `start` to `end` during `fit`.

    Or the *peak* of their slopes, which means the same for every surrogate: a sharpness is in units
    of its own formula, so that from 2 to 16, which suits HTAF's alpha, is far too sharp for the
    other slopes. With the progress p, which runs from 0 in the first epoch (or step) to 1 in the
    last, either is

        exponential    start * (end / start)^p
        linear         start + (end - start) * p
        cosine         end + (start - end) * (1 + cos(pi p)) / 2
        a callable     schedule(p)

    The position is computed from the epoch that `fit` counts, never from hidden state: a training
    that is resumed with `initial_epoch` goes on with the sharpness it would have had. The values
    are logged as `sharpness`, or as `peak`.

    Args:
        start: Sharpness at p = 0, from 1e-6 to 1e6 (HTAF's alpha, the parameter of other slopes).
        end: Sharpness at p = 1, likewise.
        schedule: `"exponential"` (default), `"linear"`, `"cosine"` or a function from p in [0, 1]
            to a sharpness, which uses neither `start` and `end` nor `peak`.
        epochs: The epochs over which p runs from 0 to 1; afterwards it stays 1. Default: all
            epochs of the `fit`. Give it when training is continued with a changed `epochs`.
        frequency: `"epoch"` (default) or `"step"`. With `"step"` and data whose length Keras
            does not know, the first epoch trains at `start`.
        layers: Names of the steps to anneal, or of layers that hold them, such as those of neurons
            (several may share a name). Default: all but the quantizers of kernels, whose latent
            weights are clipped to where their slope ends; these are annealed by their own names
            alone ("kernel_quantizer" and the like in binary layers). Where such a slope
            then ends before the clip, so that weights beyond it get no gradient, `fit` warns.
            Either way steps that are frozen, by themselves or with the layer or model that holds
            them, keep their sharpness: those of a `distillation.Distiller`'s teacher, say.
        peak: In place of `start` and `end`: the slope's peak g(0) at p = 0 and at p = 1, for a bit
            in units of its scale; a sign, which rises by 2, has twice that. Each step gets the
            sharpness of its own surrogate that has this peak (`Surrogate.sharpness_for`). Default,
            where `start` and `end` are not given: (0.25, 2.0), for `layers.HTAF()` alpha 2 to 16.

    Raises:
        ValueError: For arguments out of range; at the start of `fit` also when the model has no
            step that is not frozen, none of a given name, or one whose slope cannot have the peak.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras_htaf.layers.HTAF()])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(np.ones((4, 2)), np.ones((4, 2)), epochs=3, verbose=0,
    ...                     callbacks=[AnnealSharpness(2.0, 8.0)])
    >>> history.history["sharpness"]
    [2.0, 4.0, 8.0]

    The same with any slope: `AnnealSharpness(peak=(0.25, 1.0))`.
    """

    def __init__(
        self,
        start: float | None = None,
        end: float | None = None,
        schedule: str | Callable[[float], float] = "exponential",
        epochs: int | None = None,
        frequency: str = "epoch",
        layers: list[str] | None = None,
        peak: tuple[float, float] | None = None,
    ):
        super().__init__()
        if not callable(schedule) and schedule not in _SCHEDULES:
            raise ValueError(
                f"Received schedule={schedule!r}. Expected a function of the progress or one of "
                f"{sorted(_SCHEDULES)}."
            )
        if frequency not in ("epoch", "step"):
            raise ValueError(f"Received frequency={frequency!r}. Expected 'epoch' or 'step'.")
        if epochs is not None and epochs < 1:
            raise ValueError(f"Received epochs={epochs!r}. Expected a positive number of epochs.")
        if isinstance(layers, str):
            raise ValueError(f"Received layers={layers!r}. Expected a list of names: [{layers!r}].")
        self.start, self.end, self.peak = _ends(start, end, peak, schedule)
        self.schedule = schedule
        self.epochs = epochs
        self.frequency = frequency
        self.layers = layers
        self._epoch = 0
        self._steps = None
        self._last_batch = 0
        self._current: float | None = None
        self._warned = False

    def sharpness_at(self, progress: float) -> float:
        """The sharpness, or where `peak` is given the peak, at a progress in [0, 1]."""
        progress = min(max(progress, 0.0), 1.0)
        if callable(self.schedule):
            return _sharpness("schedule(progress)", self.schedule(progress))
        start, end = self.peak or (self.start, self.end)
        return _SCHEDULES[self.schedule](start, end, progress)

    def on_train_begin(self, logs=None):
        self._steps = self.params.get("steps")
        self._current = None
        self._warned = False
        found = self._candidates()
        unknown = [name for name in self.layers or () if not self._named(name, found)]
        if not found or unknown:
            there, why = [s.path or s.name for s in found], "so there is nothing to anneal"
            if unknown:
                why = f"and neither steps nor layers that hold some with the names {unknown}"
            raise ValueError(
                f"AnnealSharpness found the step layers {there} in model {self.model.name!r}, "
                f"frozen ones left out, {why}."
            )
        for value in self.peak or ():
            self._sharpnesses(self._annealed(), value)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        # Assign anew in each epoch: on JAX, data of unknown length ends with a batch that has begun
        # and is then dropped, and what was assigned in it is dropped too.
        self._current = None
        if self.frequency == "epoch" or not self._steps:
            self._set(epoch, self._total_epochs())

    def on_train_batch_begin(self, batch, logs=None):
        if self.frequency == "step" and self._steps:
            self._set(self._epoch * self._steps + batch, self._total_epochs() * self._steps)

    def on_train_batch_end(self, batch, logs=None):
        self._last_batch = batch

    def on_epoch_end(self, epoch, logs=None):
        if not self._steps:
            self._steps = self._last_batch + 1
        if logs is not None:
            logs["peak" if self.peak else "sharpness"] = self._current

    def _candidates(self) -> list[Sloped]:
        # Through self.model each time: on JAX that is what makes `fit` read the weights anew.
        layers = self.model._flatten_layers()
        steps = [layer for layer in layers if isinstance(layer, Sloped)]
        steps = steps if self.layers else units_among(steps, self.model)
        # A step has nothing to train itself, so those that hold it are asked too.
        frozen = {id(x) for layer in layers if not layer.trainable for x in layer._flatten_layers()}
        return [step for step in steps if id(step) not in frozen]

    def _annealed(self) -> list[Sloped]:
        steps = self._candidates()
        if not self.layers:
            return steps
        named = {id(step) for name in self.layers for step in self._named(name, steps)}
        return [step for step in steps if id(step) in named]

    def _named(self, name: str, steps: list[Sloped]) -> list[Sloped]:
        """Those of the steps that have the name or, if none has, units of layers that have it."""
        if own := [step for step in steps if step.name == name]:
            return own
        holders = [layer for layer in self.model._flatten_layers() if layer.name == name]
        held = {id(layer) for holder in holders for layer in holder._flatten_layers()}
        return [step for step in units_among(steps, self.model) if id(step) in held]

    def _total_epochs(self) -> int:
        return self.epochs or self.params["epochs"]

    def _set(self, position: float, total: int) -> None:
        value = self.sharpness_at(position / max(total - 1, 1))
        if value == self._current:
            return
        annealed = self._annealed()
        sharpnesses = self._sharpnesses(annealed, value)
        for layer, sharpness in zip(annealed, sharpnesses, strict=True):
            if layer.sharpness is None:
                raise ValueError(
                    f"Step {layer.name!r} has no sharpness yet, since per_channel=True makes "
                    "it wait for its input. Call the model on a batch of data before fit."
                )
            layer.sharpness.assign(np.full(layer.sharpness.shape, sharpness, "float32"))
        self._current = value
        if self.layers and not self._warned:
            self._warn_of_short_slopes(annealed, sharpnesses)

    def _sharpnesses(self, steps: list[Sloped], value: float) -> list[float]:
        """What `value`, a sharpness or a peak, is for each of the steps."""
        if not self.peak:
            return [value] * len(steps)
        found: dict = {}
        sharpnesses = []
        for step in steps:
            # A sign's slope is its surrogate's times a gain, and is to be twice a bit's.
            sign = getattr(step, "rise", 2) == 2
            peak = value * 2.0 / step.surrogate.sign_gain if sign else value
            key = (step.surrogate, peak)
            try:
                found[key] = found[key] if key in found else step.surrogate.sharpness_for(peak)
            except ValueError as error:
                raise ValueError(
                    f"Step {step.name!r} cannot be annealed to the peak {value:g}: {error} Or give "
                    "start and end, in units of its sharpness, or other layers."
                ) from error
            sharpnesses.append(found[key])
        return sharpnesses

    def _warn_of_short_slopes(self, annealed, sharpnesses):
        sharpness_of = dict(zip(map(id, annealed), sharpnesses, strict=True))
        for layer in self.model._flatten_layers():
            if not isinstance(layer, BinaryLayer):
                continue
            for key in layer.kernels:
                quantizer = getattr(layer, f"{key}_quantizer")
                value = sharpness_of.get(id(quantizer))
                if value and layer.clip(key) > (reach := quantizer.reach_at(value)):
                    self._warned = True
                    warnings.warn(
                        f"At the sharpness {value:g} the slope of the {key}_quantizer of layer "
                        f"{layer.name!r} ends at {reach:g}, and its latent weights are clipped to "
                        f"{layer.clip(key):g}: those beyond the slope get no gradient any more. "
                        f"Expected {key}_constraint=keras_htaf.constraints.WeightClip of the reach "
                        "at the greatest sharpness, or a slope that does not end, such as that of "
                        "'sign'.",
                        stacklevel=2,
                    )
                    return


def _ends(start, end, peak, schedule):
    """Both ends of the sharpness, or None, and of the peak, or None; one of the two is given."""
    given = [name for name, x in (("start", start), ("end", end)) if x is not None]
    if callable(schedule) or given:
        if peak is not None:
            raise ValueError(
                f"Received peak={peak!r} and {given or 'a function as schedule'}. Expected either: "
                "these are in units of one surrogate's sharpness."
            )
        if callable(schedule):
            return None, None, None
        start, end = _sharpness("start", start), _sharpness("end", end)
        return start, end, None
    try:
        first, last = (0.25, 2.0) if peak is None else peak
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Received peak={peak!r}. Expected the two peaks at the start and at the end."
        ) from error
    return None, None, (positive("peak[0]", first), positive("peak[1]", last))


def _sharpness(name, value) -> float:
    if value is None:
        raise ValueError(f"Received no {name}. Expected start and end, or peak in place of both.")
    low, high = SHARPNESSES
    if not low <= positive(name, value) <= high:
        raise ValueError(
            f"Received {name}={value!r}. Expected {low:g} to {high:g}: beyond, a slope is flat or "
            "0 at every input."
        )
    return float(value)

"""Linear heads fitted on exact bits, and the loss that all of them minimise."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.packages import needs
from keras_htaf.interpret.results import Result

_RIDGE = 1e-3
_LEVEL = 1e-3
"""Largest slope of a loss where the solver may stop for want of a better step."""


@dataclass(frozen=True, eq=False)
class Head(Result):
    """A head s = h W + b, and how well it decides.

    Attributes:
        kind: "dense", "elastic net", "per class" or "ternary".
        weights: W, `(m, K)`.
        bias: b, `(K,)`.
        accuracy: Share of the held-out samples that it decides right.
    """

    kind: str
    weights: np.ndarray
    bias: np.ndarray
    accuracy: float

    @property
    def nec(self) -> float:
        """Number of effective concepts: the mean number of nonzero weights of a class."""
        return np.count_nonzero(self.weights) / len(self.bias)

    def on(self, codes: Codes) -> Codes:
        """The same samples, read by this head."""
        return replace(codes, weights=self.weights, bias=self.bias)


class Loss:
    """Mean cross-entropy of softmax(h W + b) on bits, with a ridge, and its gradients.

    Sums over samples are float32, as bits are exact in it; what the solver sees is float64.

    Args:
        bits: bool, `(n, m)`.
        labels: Integers, `(n,)`.
        classes: K.
        ridge: Factor of half the sum of squared weights.
    """

    def __init__(self, bits: np.ndarray, labels: np.ndarray, classes: int, ridge: float = _RIDGE):
        self.bits = np.ascontiguousarray(bits, np.float32)
        self.labels = labels
        self.ridge = ridge
        self.shape = bits.shape[1], classes
        counts = np.bincount(labels, minlength=classes)
        # A class without samples starts, and stays, far below the others but finite.
        self.prior = np.log(np.maximum(counts, 0.5) / len(labels))

    def __call__(self, weights, bias) -> tuple[float, np.ndarray, np.ndarray]:
        rows = np.arange(len(self.labels))
        p = self.bits @ weights.astype(np.float32)
        p += bias.astype(np.float32)
        p -= p.max(axis=1, keepdims=True)
        own = p[rows, self.labels].copy()
        np.exp(p, out=p)
        total = p.sum(axis=1)
        loss = np.mean(np.log(total) - own, dtype=np.float64)
        p /= total[:, None]
        p[rows, self.labels] -= 1
        p /= len(rows)
        gradient = (self.bits.T @ p).astype(np.float64) + self.ridge * weights
        loss += self.ridge / 2 * np.sum(weights**2)
        return float(loss), gradient, p.sum(axis=0, dtype=np.float64)


def fit_dense(
    loss: Loss,
    start=None,
    mask: np.ndarray | None = None,
    iterations: int = 1000,
    name: str = "A dense head",
):
    """Weights and bias of the smallest loss; where the mask is False the weights are 0.

    Warns, by that name, if it does not get there, as the other two do.
    """
    mask = np.ones(loss.shape, bool) if mask is None else mask
    weights, bias = start or (np.zeros(loss.shape), loss.prior)

    def unpacked(v):
        full = np.zeros(loss.shape)
        full[mask] = v[: -len(bias)]
        return full, v[-len(bias) :]

    def function(v):
        value, gradient, of_bias = loss(*unpacked(v))
        return value, np.concatenate([gradient[mask], of_bias])

    start = np.concatenate([weights[mask], bias])
    return unpacked(_solve(function, start, None, iterations, name))


def fit_lasso(loss: Loss, l1: float, start=None, iterations: int = 500):
    """Weights and bias of the smallest loss + l1 * sum |W|.

    W is the difference of two arrays of no negative number, at whose bound the solver finds exact
    zeros.
    """
    weights, bias = start or (np.zeros(loss.shape), loss.prior)
    size = weights.size

    def unpacked(v):
        return (v[:size] - v[size : 2 * size]).reshape(loss.shape), v[2 * size :]

    def function(v):
        value, gradient, of_bias = loss(*unpacked(v))
        gradient = gradient.ravel()
        value += l1 * v[: 2 * size].sum()
        return value, np.concatenate([l1 + gradient, l1 - gradient, of_bias])

    start = np.concatenate([np.maximum(s * weights, 0).ravel() for s in (1, -1)] + [bias])
    bounds = [(0, None)] * (2 * size) + [(None, None)] * len(bias)
    name = f"The elastic net of strength {l1:.3g}"
    return unpacked(_solve(function, start, bounds, iterations, name))


def fit_scale(
    loss: Loss,
    signs: np.ndarray,
    bias: np.ndarray,
    iterations: int = 1000,
    name: str = "A ternary head",
):
    """The positive factor of a ternary matrix, and the bias, of the smallest loss."""

    def function(v):
        value, gradient, of_bias = loss(np.exp(v[0]) * signs, v[1:])
        slope = np.exp(v[0]) * np.sum(gradient * signs)
        return value, np.concatenate([[slope], of_bias])

    v = _solve(function, np.concatenate([[0.0], bias]), None, iterations, name)
    return np.exp(v[0]) * signs, v[1:]


def _solve(function, start, bounds, iterations, name):
    needs("scipy", "Fitting a head")
    from scipy.optimize import minimize

    options = {"maxiter": iterations, "ftol": 1e-6, "gtol": 1e-6}
    found = minimize(function, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    slope = found.jac
    if bounds is not None:
        at_bound = found.x <= np.array([low for low, _ in bounds], float)  # None is NaN: no bound
        slope = np.where(at_bound, np.minimum(slope, 0), slope)
    slope = np.abs(slope).max()
    # Sums over samples are float32: that no loss along the line is smaller (status 2) is the end
    # too, where it is level.
    if found.status == 1 or (found.status == 2 and slope > _LEVEL):
        reason = f"{found.nit} iterations were not enough" if found.status == 1 else "no step helps"
        warnings.warn(
            f"{name} was not fitted to the end: {reason}, at a loss of {found.fun:.4g} and a slope "
            f"of {slope:.2g}. Its accuracy may be lower than it could be.",
            stacklevel=3,
        )
    return found.x

"""HTAF itself: its family, its tail in finite precision, and its slope beside others."""

from __future__ import annotations

import keras
import mpmath
import numpy as np
from style import panels, save

from keras_htaf import ops, surrogates


def family() -> None:
    """The smooth step and its slope, for several alpha and beta."""
    x = np.linspace(-6, 6, 601).astype("float32")
    figure, ((values, slopes), (values_b, slopes_b)) = panels(2, 2, width=4.4, height=2.9)
    for alpha in (2, 4, 8, 16):
        draw(values, slopes, x, surrogates.HTAF(alpha, 0.5), rf"$\alpha$ = {alpha}")
    for beta in (0.25, 0.5, 1.0):
        draw(values_b, slopes_b, x, surrogates.HTAF(8.0, beta), rf"$\beta$ = {beta:g}")
    values.set_title(r"htaf, $\beta$ = 0.5")
    values_b.set_title(r"htaf, $\alpha$ = 8")
    slopes.set_title("slope")
    slopes_b.set_title("slope")
    for axes in (values, values_b):
        axes.legend(loc="upper left")
    for axes in (values_b, slopes_b):
        axes.set_xlabel("x")
    save(figure, "family.svg")


def draw(values, slopes, x, surrogate, label):
    values.plot(x, keras.ops.convert_to_numpy(surrogate.smooth(x)), label=label)
    slopes.plot(x, keras.ops.convert_to_numpy(surrogate.derivative(x)), label=label)


def exact_slope(x: float, alpha: float, beta: float) -> float:
    with mpmath.workdps(50):
        step = lambda z: 1 / (1 + mpmath.exp(-alpha * mpmath.tanh(beta * z)))  # noqa: E731
        u = mpmath.tanh(beta * mpmath.mpf(x))
        sech = 1 / mpmath.cosh(beta * mpmath.mpf(x))
        s = step(mpmath.mpf(x))
        return float(alpha * beta * sech**2 * s / (1 + mpmath.exp(alpha * u)))


def gradient(function, x, dtype):
    """Of a function of one tensor, by the backend's automatic differentiation."""
    if keras.config.backend() != "jax":
        raise SystemExit("The figures are made with KERAS_BACKEND=jax.")
    import jax

    of_all = jax.grad(lambda z: keras.ops.sum(function(z)))
    return np.asarray(of_all(keras.ops.convert_to_tensor(x, dtype)), "float64")


def tail(alpha=4.0, beta=1.0) -> None:
    """The gradient far from the threshold: exact, by autodiff, and by the closed form."""
    x = np.linspace(0, 20, 201)
    figure, both = panels(2, sharey=True, width=4.6)
    for axes, dtype in zip(both, ("float32", "bfloat16"), strict=True):
        seen = np.asarray(keras.ops.convert_to_tensor(x, dtype), "float64")  # as the type has it
        truth = np.array([exact_slope(z, alpha, beta) for z in seen])
        plain = gradient(lambda z: keras.ops.sigmoid(alpha * keras.ops.tanh(beta * z)), x, dtype)
        ours = gradient(lambda z: ops.htaf(z, alpha, beta), x, dtype)
        axes.semilogy(seen, truth, color="0.7", linewidth=5, label="exact (50 digits)")
        axes.semilogy(seen, ours, color="C0", linewidth=1.5, label="keras_htaf.ops.htaf")
        alive = plain > 0
        axes.semilogy(seen[alive], plain[alive], color="C3", linewidth=1.5, label="autodiff")
        last = seen[alive].max()
        axes.plot(last, plain[alive][-1], "x", color="C3", markersize=8, markeredgewidth=2)
        axes.annotate(
            "then exactly 0",
            (last, plain[alive][-1]),
            (last + 0.8, plain[alive][-1] * 30),
            color="C3",
        )
        axes.set(title=dtype, xlabel="x", ylim=(1e-19, 10))
    both[0].set_ylabel(rf"gradient, $\alpha$ = {alpha:g}, $\beta$ = {beta:g}")
    both[0].legend(loc="lower left")
    save(figure, "tail.svg")


def beside_sigmoids() -> None:
    """HTAF beside the sigmoid of the same peak, and beside that of the same tail."""
    x = np.linspace(0, 8, 401).astype("float32")
    htaf = surrogates.HTAF(8.0, 0.5)
    curves = {
        r"HTAF, $\alpha$ = 8, $\beta$ = 0.5": htaf,
        r"sigmoid of the same peak, $\sigma(\alpha\beta x)$": surrogates.Sigmoid(4.0),
        r"sigmoid of the same tail, $\sigma(2\beta x)$": surrogates.Sigmoid(1.0),
    }
    figure, (near, far) = panels(2, width=4.6)
    for label, slope in curves.items():
        y = keras.ops.convert_to_numpy(slope.derivative(x))
        near.plot(x, y, label=label)
        far.semilogy(x, y, label=label)
    near.set(title="slope", xlabel="x", xlim=(0, 4))
    near.legend()
    far.set(title="the same, logarithmic", xlabel="x")
    save(figure, "beside_sigmoids.svg")


def to_the_step() -> None:
    """The distance to the exact step as alpha grows, and its bound."""
    x = np.linspace(-3, 3, 601).astype("float32")
    distances = np.linspace(0.05, 3, 200)
    figure, (values, bounds) = panels(2, width=4.4)
    for alpha in (2, 8, 32, 128):
        smooth = keras.ops.convert_to_numpy(surrogates.HTAF(alpha, 0.5).smooth(x))
        values.plot(x, smooth, label=rf"$\alpha$ = {alpha}")
        bounds.semilogy(distances, 1 / (1 + np.exp(alpha * np.tanh(0.5 * distances))))
    values.legend(loc="upper left")
    values.set(title=r"htaf, $\beta$ = 0.5", xlabel="x")
    bounds.set(title="largest distance to the step beyond d", xlabel="d", ylim=(1e-12, 1))
    save(figure, "to_the_step.svg")


def slopes() -> None:
    """Nine slopes at the same peak."""
    x = np.linspace(-3, 3, 601).astype("float32")
    figure, (left, right) = panels(2, width=4.6, sharey=True)
    rows = (
        (left, ("htaf", "sigmoid", "atan", "soft_sign", "erf")),
        (right, ("htaf", "triangle", "fast_sigmoid", "rectangle", "approx_sign")),
    )
    for axes, names in rows:
        for name in names:
            slope = surrogates.get(name)
            if slope.peak != 1.0:
                slope = type(slope)(slope.sharpness_for(1.0))
            y = keras.ops.convert_to_numpy(slope.derivative(x))
            axes.plot(x, y, label=name, linewidth=2.5 if name == "htaf" else 1.2)
        axes.legend()
        axes.set(xlabel="x")
    left.set_ylabel("slope, peak 1")
    save(figure, "slopes.svg")

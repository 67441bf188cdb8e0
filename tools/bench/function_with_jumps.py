"""A function with jumps: exact steps beside a ReLU network and boosted trees.

    KERAS_BACKEND=jax python tools/bench/function_with_jumps.py
    KERAS_BACKEND=jax python tools/bench/function_with_jumps.py --seeds 5 --figure jumps.png
    KERAS_BACKEND=jax python tools/bench/function_with_jumps.py --function smooth
    KERAS_BACKEND=jax python tools/bench/function_with_jumps.py --tune

The expected loss of a loan, as banks rate it: two scores, each a weighted sum of what is known of
the borrower, are sorted into brackets, and the product of the brackets' rates is the loss. Nothing
of that is told to the models, which see eight numbers and a loss with noise. The result is constant
but for jumps across oblique planes, and a step unit is such a plane: it has the jump built in. ReLU
must put a steep ramp there, and trees, which cut along the axes, a staircase.

One seed takes half a minute on a free CPU. Needs scikit-learn for the trees and matplotlib for the
figure. The settings below are those that `--tune` found; the results are in
docs/results/regression.md.
"""

import argparse
import itertools

import keras
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.models import deep_heaviside_network

SETTINGS = {
    "brackets": {
        "exact steps": {"skip": None, "rate": 5e-2, "sharpness": 16.0, "depth": 2, "width": 64},
        "ReLU": {"skip": "residual", "rate": 3e-2, "batch": 32, "depth": 3, "width": 32},
        "boosted trees": {
            "rate": 0.05,
            "leaves": 31,
            "leaf_size": 20,
            "trees": 4000,
            "features": 0.3,
        },
        "trees on scores": {
            "rate": 0.05,
            "leaves": 8,
            "leaf_size": 20,
            "trees": 500,
            "features": 0.3,
        },
    },
    "smooth": {
        "exact steps": {"skip": "dense", "rate": 3e-2, "sharpness": 16.0, "depth": 2, "width": 64},
        "ReLU": {"skip": None, "rate": 3e-2, "batch": 64, "depth": 3, "width": 64},
        "boosted trees": {
            "rate": 0.1,
            "leaves": 31,
            "leaf_size": 20,
            "trees": 4000,
            "features": 0.5,
        },
        "trees on scores": {
            "rate": 0.05,
            "leaves": 15,
            "leaf_size": 20,
            "trees": 500,
            "features": 0.3,
        },
    },
}
# What --tune tries: all combinations, then from the best of them all of the next row, and so on.
TREES = [
    {"rate": [0.05, 0.1, 0.2], "leaves": [8, 15, 31, 127], "leaf_size": [5, 20]},
    {"trees": [50, 200, 500, 1000, 2000, 4000], "features": [0.3, 0.5, 1.0]},
]
GRIDS = {
    "brackets": {
        "exact steps": [
            {"skip": [None, "dense"], "rate": [1e-2, 2e-2, 3e-2], "sharpness": [16.0, 40.0]},
            {"depth": [2, 3, 4], "width": [64, 128]},
            {"rate": [3e-2, 5e-2], "batch": [64, 128], "width": [32, 64]},
        ],
        "ReLU": [
            {
                "skip": [None, "residual", "dense"],
                "rate": [5e-3, 1e-2, 2e-2, 3e-2],
                "batch": [64, 128],
            },
            {"depth": [2, 3, 4], "width": [64, 128]},
            {"rate": [3e-2, 5e-2], "batch": [32, 64], "width": [32, 64]},
        ],
        "boosted trees": TREES,
        "trees on scores": TREES,
    },
    "smooth": {
        "exact steps": [
            {
                "skip": [None, "dense"],
                "rate": [3e-3, 1e-2, 3e-2],
                "sharpness": [16.0],
                "depth": [2],
                "width": [64],
            }
        ],
        "ReLU": [
            {
                "skip": [None, "residual"],
                "rate": [3e-3, 1e-2, 3e-2],
                "batch": [64],
                "depth": [3],
                "width": [64],
            }
        ],
        "boosted trees": TREES,
        "trees on scores": TREES,
    },
}

NOISE = 0.05
RISK = np.array([-0.5, -0.3, -0.3, -0.3, 0.5, 0.4, -0.2, 0.0])
SEVERITY = np.array([0.0, -0.4, 0.0, 0.0, 0.3, 0.2, -0.6, -0.5])
RISK, SEVERITY = RISK / np.linalg.norm(RISK), SEVERITY / np.linalg.norm(SEVERITY)
RISK_CUTS, SEVERITY_CUTS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), np.array([-0.7, 0.0, 0.7])
DEFAULTS = np.array([0.5, 0.8, 1.25, 2.0, 3.2, 5.0])  # % of the loans of a bracket
LOST = np.array([0.1, 0.25, 0.45, 0.65])  # share of a loan in default


def brackets(x):
    risk, severity = x @ RISK, x @ SEVERITY
    return (
        DEFAULTS[np.searchsorted(RISK_CUTS, risk)] * LOST[np.searchsorted(SEVERITY_CUTS, severity)]
    )


def smooth(x):
    """The same two scores, without brackets."""
    return (2.5 + 2.0 * np.tanh(x @ RISK)) * (0.375 + 0.275 * np.tanh(x @ SEVERITY))


def distance_to_jump(x):
    gaps = [
        np.abs((x @ RISK)[:, None] - RISK_CUTS),
        np.abs((x @ SEVERITY)[:, None] - SEVERITY_CUTS),
    ]
    return np.concatenate(gaps, 1).min(1)


class Batches(keras.utils.PyDataset):
    """Not arrays: with TensorFlow and a seed, fit would give them in the same order each epoch."""

    def __init__(self, x, y, size, seed):
        super().__init__()
        self.x, self.y, self.size = x, y[:, None], size
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, batch):
        rows = self.order[batch * self.size : (batch + 1) * self.size]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.x))


def network(x, y, seed, *, rate, sharpness=None, depth=3, width=64, batch=128, **options):
    """Trains a network of exact steps, or of ReLU units where no sharpness is given."""
    keras.utils.set_random_seed(seed)
    model = deep_heaviside_network(
        x.shape[1:],
        1,
        depth=depth,
        width=width,
        normalization=None,
        activation=None if sharpness else "relu",
        targets=y,
        **options,
    )
    batches = Batches(x, y, batch, seed)
    decay = keras.optimizers.schedules.CosineDecay(rate, arguments.epochs * len(batches))
    model.compile(keras.optimizers.Adam(decay), "mse")
    annealing = [AnnealSharpness(2.0, sharpness, frequency="step")] if sharpness else []
    model.fit(batches, epochs=arguments.epochs, verbose=0, callbacks=annealing)
    return lambda x: model.predict(x, batch_size=2000, verbose=0)[:, 0]


def boosted_trees(x, y, seed, *, rate, leaves, leaf_size, trees=500, features=1.0):
    model = HistGradientBoostingRegressor(
        learning_rate=rate,
        max_leaf_nodes=leaves,
        min_samples_leaf=leaf_size,
        max_iter=trees,
        max_features=features,
        early_stopping=False,
        random_state=seed,
    )
    return model.fit(x, y).predict


def trees_on_scores(x, y, seed, **settings):
    """The same, told the two scores: what knowing the right inputs is worth."""

    def scores(x):
        return np.stack([x @ RISK, x @ SEVERITY], 1)

    predict = boosted_trees(scores(x), y, seed, **settings)
    return lambda x: predict(scores(x))


MODELS = {
    "exact steps": network,
    "ReLU": network,
    "boosted trees": boosted_trees,
    "trees on scores": trees_on_scores,
}


def sample(count, rng):
    """Standardised inputs, the function there, and what is observed of it."""
    x = rng.uniform(-(3**0.5), 3**0.5, (count, 8)).astype("float32")
    y = function(x)
    return x, y, (y + NOISE * rng.normal(size=count)).astype("float32")


def root_mean_square(error):
    return np.sqrt(np.mean(error**2))


def tune():
    """On samples of their own: trained on the first, judged by the second."""
    rng = np.random.default_rng(1000)
    (x, _, y), (x_val, _, y_val) = sample(arguments.samples, rng), sample(2500, rng)
    for name in arguments.models:
        best = {}
        for grid in GRIDS[arguments.function][name]:
            tried = []
            for values in itertools.product(*grid.values()):
                settings = best | dict(zip(grid, values, strict=True))
                predict = MODELS[name](x, y, 0, **settings)
                tried.append((root_mean_square(predict(x_val) - y_val), settings))
                print(f"{name}: validation RMSE {tried[-1][0]:.4f} with {settings}", flush=True)
            best = min(tried, key=lambda pair: pair[0])[1]
        print(f"{name}: the best are {best}\n", flush=True)


def draw(predictions, file):
    """Along a line through the middle of the inputs, which crosses most of the jumps."""
    from matplotlib import pyplot as plt

    along = RISK + 0.6 * SEVERITY
    t = np.linspace(-1.7, 1.7, 1201)
    x = (t[:, None] * along / np.linalg.norm(along)).astype("float32")
    figure, axes = plt.subplots(3, 1, figsize=(7, 7.5), sharex=True, layout="constrained")
    for axis, (name, predict) in zip(axes, predictions.items(), strict=True):
        axis.plot(t, function(x), color="0.7", linewidth=4, label="the function")
        axis.plot(t, predict(x), color="C0", linewidth=1.2, label=name)
        axis.set_ylabel("expected loss, %")
        axis.legend(loc="upper left")
    axes[-1].set_xlabel("position on the line")
    figure.savefig(file, dpi=120)


parser = argparse.ArgumentParser()
parser.add_argument("--function", choices=["brackets", "smooth"], default="brackets")
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--samples", type=int, default=8000)
parser.add_argument("--epochs", type=int, default=120)
parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS)[:3])
parser.add_argument("--tune", action="store_true", help="try the settings in GRIDS, and end")
parser.add_argument("--figure", help="file to draw the first seed's predictions to")
arguments = parser.parse_args()
function = {"brackets": brackets, "smooth": smooth}[arguments.function]
if arguments.tune:
    tune()
    raise SystemExit

errors = {name: [] for name in arguments.models}
for seed in range(arguments.seeds):
    rng = np.random.default_rng(seed)
    (x, _, y), (x_test, y_test, _) = sample(arguments.samples, rng), sample(10_000, rng)
    near = distance_to_jump(x_test) < 0.1
    predictions = {
        name: MODELS[name](x, y, seed, **SETTINGS[arguments.function][name]) for name in errors
    }
    for name, predict in predictions.items():
        error = predict(x_test) - y_test
        errors[name].append([root_mean_square(e) for e in (error, error[near], error[~near])])
    if seed == 0 and arguments.figure:
        draw(predictions, arguments.figure)

spread = root_mean_square(y_test - y_test.mean())
print(
    f"{arguments.function}: root mean square error against the function without noise, mean and "
    f"standard deviation of {arguments.seeds} seeds\n"
    f"{'':16}{'in noise':>14}{'in % of y':>16}{'near jumps':>16}{'away':>16}"
)
for name, table in errors.items():
    mean, deviation = np.mean(table, 0), np.std(table, 0)
    cells = [(0, 1 / NOISE), (0, 100 / spread), (1, 1 / NOISE), (2, 1 / NOISE)]
    row = [f"{mean[i] * unit:.2f} +- {deviation[i] * unit:.2f}" for i, unit in cells]
    print(f"{name:16}" + "".join(f"{cell:>16}" for cell in row))

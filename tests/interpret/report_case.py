"""An analysis to report on, with names that are markup, and what its page holds."""

import base64
import json
import re

import numpy as np

from keras_htaf.interpret import analyze
from keras_htaf.models import icbm, small_cnn

EVIL = '<img src=x onerror="window.hacked=1">'
CLASSES = ("one", "<b>two</b>", "three & four")
X = np.random.default_rng(0).normal(size=(60, 8, 8, 1)).astype("float32")
Y = np.arange(60) % 3


def analysis_of_noise(**options):
    """Eight bits of an untrained network; bit 2 has markup for a name, bit 7 is never on."""
    model = icbm(small_cnn((8, 8, 1), width=4, stages=1), 8, 3)
    random = np.random.default_rng(2)
    model.set_weights([w + random.normal(0, 0.4, w.shape) ** 2 for w in model.get_weights()])
    norm = model.get_layer("concept_norm")
    gamma, beta, mean, variance = norm.get_weights()
    z = analyze(model, X, Y).codes.z
    beta = beta - np.median(z, axis=0)
    beta[7] = -100
    norm.set_weights([gamma, beta, mean, variance])
    names = [f"bit {j}" for j in range(8)]
    names[2] = EVIL
    options = {"concept_names": names, "class_names": CLASSES, **options}
    return analyze(model, X, Y, **options)


def data_of(html):
    """The numbers in a page."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(text[1])


def array(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)

"""Each backend's primitives equal the portable definition: same values, same slopes."""

import numpy as np
import pytest
from support import WIDEST, dtype_of, gradient, rounded, tensor, to_numpy

from keras_htaf import backend, surrogates
from keras_htaf.backend import portable
from keras_htaf.ops.steps import bits, signs

TOLERANCE = {"float64": 1e-11, "float32": 2e-6, "bfloat16": 8e-3, "float16": 1e-3}
SMALLEST = {"float64": 1e-37, "float32": 1e-37, "bfloat16": 1e-37, "float16": 2.0**-23}
POINTS = [-np.inf, -60, -12, -5, -1.5, -0.3, -0.0, 0.0, 1e-3, 0.4, 1, 2, 8, 30, np.inf, np.nan]

every_dtype = pytest.mark.parametrize("dtype", sorted({WIDEST, "float32", "bfloat16", "float16"}))


def assert_equal(native, definition, dtype):
    assert dtype_of(native) == dtype_of(definition) == dtype
    assert_close(to_numpy(native), to_numpy(definition), dtype)


def assert_close(native, definition, dtype):
    np.testing.assert_allclose(native, definition, rtol=TOLERANCE[dtype], atol=SMALLEST[dtype])


@every_dtype
@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (8.0, 0.5), (0.3, 3.0)])
def test_htaf(alpha, beta, dtype):
    x = tensor(POINTS, dtype)
    assert_equal(backend.htaf(x, alpha, beta), portable.htaf(x, alpha, beta), dtype)
    assert_equal(backend.htaf_inference(x, alpha, beta), portable.htaf(x, alpha, beta), dtype)
    slope = backend.htaf_slope(x, alpha, beta)
    assert_equal(slope, portable.htaf_slope(x, alpha, beta), dtype)
    for f in (backend.htaf, backend.htaf_inference):
        assert_close(gradient(lambda x, f=f: f(x, alpha, beta), x), to_numpy(slope), dtype)


@every_dtype
def test_htaf_with_arrays(dtype):
    x = tensor(np.reshape(POINTS, (4, 4)), dtype)
    wide = WIDEST if dtype == WIDEST else "float32"
    alpha, beta = tensor([2.0, 4.0, 8.0, 1.0], wide), tensor(np.full((4, 1), 0.7), wide)
    assert_equal(backend.htaf(x, alpha, beta), portable.htaf(x, alpha, beta), dtype)
    slope = portable.htaf_slope(x, alpha, beta)
    assert_equal(backend.htaf_slope(x, alpha, beta), slope, dtype)


@every_dtype
@pytest.mark.parametrize("forward", [bits, signs], ids=["bits", "signs"])
@pytest.mark.parametrize("name", ["htaf", "rectangle"])
def test_step(name, forward, dtype):
    surrogate = surrogates.get(name)
    arguments = (surrogate.sharpness, surrogate, forward, 2.0)
    x = tensor(POINTS, dtype)
    assert_equal(backend.step(x, *arguments), portable.step(x, *arguments), dtype)
    finite = tensor(rounded([v for v in POINTS if np.isfinite(v)], dtype), dtype)
    native = gradient(lambda x: backend.step(x, *arguments), finite)
    definition = gradient(lambda x: portable.step(x, *arguments), finite)
    assert_close(native, definition, dtype)

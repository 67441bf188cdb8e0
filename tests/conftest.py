"""What every test needs: quiet frameworks, and compilers' caches in a temporary folder."""

import os
import tempfile

import pytest

# One cache for this process and those it starts: the same small programs are compiled many times.
_jax_cache = tempfile.TemporaryDirectory(prefix="jax-cache-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _jax_cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session", autouse=True)
def _compiler_cache(tmp_path_factory):
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("inductor"))


@pytest.fixture(scope="module", autouse=True)
def _seeded_module():
    """What a module's own fixtures draw does not depend on the modules before it."""
    _seed()


@pytest.fixture(autouse=True)
def _seeded_test(_seeded_module):
    """Nor a test's weights on which tests ran before."""
    _seed()


def _seed():
    # Imported here, after the environment above is set.
    import keras

    keras.utils.set_random_seed(0)

"""The compiled loops, the only modules of this package that import Numba; imported when needed.

counting.py    products of bits as counts, for dense layers and convolutions
units.py       units of bits from numbers, pooled, of each channel by itself; looked-up sums

Numba compiles for the CPU that it runs on and caches the machine code on disk.
"""

from __future__ import annotations

import os

from numba import config

if not {"NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"} & set(os.environ):
    # GNU's OpenMP waits for the other thread by spinning: where the cores have other work, too,
    # a call of a millisecond takes half a second. And it does not survive a fork.
    config.THREADING_LAYER_PRIORITY = ["tbb", "workqueue", "omp"]

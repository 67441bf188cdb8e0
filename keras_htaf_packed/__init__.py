"""Inference on packed bits, without Keras: what `keras_htaf.packed.pack` makes, and runs it.

graph.py        what a packed network is: a list of operations
operations/     the kinds of operations: a numpy reference and a fast way each
kernels/        the compiled loops
threads.py      work divided among threads
bits.py         how bits lie in memory
model.py        PackedModel: predict, save, summary
container.py    the file, written by files.py
c_header.py     a header of plain C, from the functions in c_functions.py
table.py        a summary as text

A package of its own, since importing any part of `keras_htaf` imports Keras and its backend, which
takes seconds and hundreds of megabytes; it imports neither. `keras_htaf.packed` has all its names:

    from keras_htaf_packed import load

    load("model.khtaf").predict(x)
"""

from __future__ import annotations

from keras_htaf_packed.model import PackedModel, load
from keras_htaf_packed.threads import get_num_threads, set_num_threads

__all__ = ["PackedModel", "get_num_threads", "load", "set_num_threads"]

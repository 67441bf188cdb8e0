"""The compiled loops, the only modules of this package that import Numba; imported when needed.

counting.py    products of bits as counts, for dense layers and convolutions
units.py       units of bits from numbers, pooled, of each channel by itself; looked-up sums

Numba compiles for the CPU that it runs on and caches the machine code on disk. Loops do the part of
the work that they are given; `threads.py` divides it.
"""

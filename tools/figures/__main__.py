"""All figures of the documentation, into docs/figures.

    KERAS_BACKEND=jax python tools/figures [name ...]

Two minutes on a CPU; seeds are fixed. The pictures of a report in docs/images are made by
tools/bench/report.py, which `make figures` calls too if there is a folder with CIFAR-10.
"""

import sys

import htaf
import networks
import results

FIGURES = {
    function.__name__: function
    for function in (
        *(htaf.family, htaf.tail, htaf.beside_sigmoids, htaf.to_the_step, htaf.slopes),
        *(networks.gap, networks.raster, networks.membrane, networks.concepts),
        *(results.speed, results.depth),
    )
}

unknown = set(sys.argv[1:]) - set(FIGURES)
if unknown:
    raise SystemExit(f"No figure is called {', '.join(unknown)}. There are: {', '.join(FIGURES)}.")
for name in sys.argv[1:] or FIGURES:
    FIGURES[name]()
    print(name, flush=True)

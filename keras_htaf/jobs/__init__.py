"""Work on more images than one machine holds, on Ray Data.

entry.py      `predict`, `bits`, `analyze`
sources.py    images and labels, a batch at a time, wherever they lie
tasks.py      what a worker does with a batch
running.py    a pool of workers, each with the model, and the files they write
results.py    what was written, read again
"""

from keras_htaf.jobs.entry import analyze, bits, predict
from keras_htaf.jobs.results import Results, load

__all__ = ["Results", "analyze", "bits", "load", "predict"]

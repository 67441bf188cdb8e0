"""What keeps a network of steps from learning: measured at each step, with advice.

measure.py    `diagnose`, from a model and data to a Diagnosis
places.py     what is measured at one place where a model calls a step
passes.py     the forward and the backward pass over one batch, with the model left as it is
task.py       what the labels and the loss ask of the model, and how well both its twins do
advice.py     from numbers to sentences, with the thresholds
results.py    Diagnosis and its rows
table.py      a Diagnosis as text
picture.py    a Diagnosis as a figure
"""

from keras_htaf.diagnosis.measure import diagnose
from keras_htaf.diagnosis.results import Diagnosis, StepDiagnosis

__all__ = ["Diagnosis", "StepDiagnosis", "diagnose"]

"""What a network costs where it runs: bits of weights and activations, MACs and memory.

graph.py      the calls of a functional model, in order, and the bits of what they exchange
layers.py     one call of a layer: its weights and multiply-accumulates, by their bits
free.py       what needs no multiply-accumulates
activity.py   what a model does with data: spikes and what they set off
energy.py     arithmetic and traffic of a spiking network, beside a quantized one
results.py    ModelSummary and its rows
table.py      a ModelSummary as text and as Markdown
"""

from keras_htaf.costs.energy import EnergySummary, LayerEnergy, Work
from keras_htaf.costs.results import LayerSummary, ModelSummary
from keras_htaf.costs.summary import summary

__all__ = ["EnergySummary", "LayerEnergy", "LayerSummary", "ModelSummary", "Work", "summary"]

"""Networks with binary weights and activations, as in the literature, and their float twins.

parts.py      how a quantized map and its float twin are made
mlp.py        BinaryNet's dense network
vgg.py        VGG-Small and BinaryNet's convolutional network
resnet.py     Bi-Real and ReActNet-style residual networks
weights.py    the kernels of a trained network as signs
"""

from keras_htaf.models.binary.mlp import binary_mlp
from keras_htaf.models.binary.resnet import binary_resnet
from keras_htaf.models.binary.vgg import binary_vgg
from keras_htaf.models.binary.weights import binary_weights

__all__ = ["binary_mlp", "binary_resnet", "binary_vgg", "binary_weights"]

# %% [markdown]
# # Quick start
#
# A network of exact steps on handwritten digits: trained with HTAF's smooth steps, sharpened,
# hardened, looked at, packed. Half a minute on a CPU, on TensorFlow, JAX or PyTorch
# (`KERAS_BACKEND` says which). Made from `quickstart.py` by `make notebooks`.

# %%
import keras
import numpy as np
from matplotlib import pyplot as plt

import keras_htaf
from keras_htaf import callbacks, datasets, layers, packed

keras.utils.set_random_seed(0)
print("Keras", keras.__version__)

# %% [markdown]
# ## The step and its slope
#
# HTAF is `sigmoid(alpha tanh(beta x))`. The larger alpha, the nearer it is to the exact step; its
# gradient fades like exp(-2 beta |x|) however large alpha is.

# %%
x = np.linspace(-6, 6, 400).astype("float32")
figure, (values, slopes) = plt.subplots(1, 2, figsize=(9, 3))
for alpha in (2, 8, 32):
    htaf = keras_htaf.surrogates.HTAF(alpha=alpha, beta=0.5)
    values.plot(x, keras.ops.convert_to_numpy(htaf.smooth(x)), label=f"alpha = {alpha}")
    slopes.semilogy(x, keras.ops.convert_to_numpy(htaf.derivative(x)))
values.set_title("htaf")
values.legend()
slopes.set_title("gradient, logarithmic")
plt.show()

# %% [markdown]
# ## Train
#
# `AnnealSharpness` raises alpha; `DiscretizationGap` measures what exact steps would cost.

# %%
data = datasets.load("digits")
x_test, y_test = data.test.arrays()

model = keras.Sequential([keras.Input(data.image_shape), keras.layers.Flatten()])
for _ in range(2):
    model.add(keras.layers.Dense(128))
    model.add(keras.layers.BatchNormalization(momentum=0.9))
    model.add(layers.HTAF())
model.add(keras.layers.Dense(data.num_classes))

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
history = model.fit(
    data.train.batches(64, shuffle=True),
    epochs=20,
    verbose=0,
    callbacks=[
        callbacks.AnnealSharpness(2.0, 16.0, frequency="step"),
        callbacks.DiscretizationGap(*data.validation.arrays()),
    ],
).history

# %%
figure, (accuracy, sharpness) = plt.subplots(1, 2, figsize=(9, 3))
accuracy.plot(history["smooth_accuracy"], label="smooth steps")
accuracy.plot(history["hard_accuracy"], "--", label="exact steps")
accuracy.set(title="validation accuracy", xlabel="epoch")
accuracy.legend()
sharpness.plot(history["sharpness"])
sharpness.set(title="alpha", xlabel="epoch")
plt.show()

# %% [markdown]
# ## Harden
#
# A new model with the same weights, whose steps are exact.

# %%
exact = keras_htaf.harden(model)
exact.compile(loss=loss, metrics=["accuracy"])
_, correct = exact.evaluate(x_test, y_test, verbose=0)
print(f"exact steps on the test part: {correct:.1%}")

# %%
bits = keras.Model(exact.inputs, exact.layers[-2].output).predict(x_test, verbose=0)
order = np.argsort(y_test, kind="stable")
plt.figure(figsize=(9, 3))
plt.imshow(bits[order].T, aspect="auto", cmap="gray_r", interpolation="nearest")
plt.title(f"the 128 bits of the last layer for each test image, by class: {np.unique(bits)}")
plt.xlabel("image")
plt.show()

# %% [markdown]
# ## Diagnose
#
# What each step receives, passes back and loses.

# %%
print(keras_htaf.diagnose(model, x_test, y_test))

# %% [markdown]
# ## Pack
#
# The layers behind bits are looked up and added up, batch normalisation and step are a threshold.

# %%
small = packed.pack(exact)
print(small.summary())
print(f"packed, on the test part: {np.mean(small.predict(x_test).argmax(-1) == y_test):.1%}")

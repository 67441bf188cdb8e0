# %% [markdown]
# # A concept model, explained
#
# An implicit concept bottleneck model turns an image into a few bits and decides by a linear head
# on them, so that everything behind the bits can be computed exactly. Here it learns drawn figures
# whose concepts and rules are known, so that what the bits mean can be checked. A minute on a CPU.
# Made from `icbm_explained.py` by `make notebooks`.

# %%
import keras
import numpy as np
from matplotlib import pyplot as plt

from keras_htaf import callbacks, datasets, interpret, models

keras.utils.set_random_seed(0)
data = datasets.shapes(num_images=3000, image_size=24)
x, y = data.test.arrays()
print(datasets.SHAPE_RULES)

# %%
figure, grid = plt.subplots(2, 8, figsize=(10, 2.9))
for axes, image, label in zip(grid.flat, x, y, strict=False):
    axes.imshow(image)
    axes.set_title(data.class_names[label], fontsize=9)
    axes.axis("off")
plt.show()

# %% [markdown]
# ## Train, with a rising sharpness

# %%
model = models.icbm(models.small_cnn(data.image_shape, width=16), 16, data.num_classes)
model.compile(
    keras.optimizers.Adam(5e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(
    data.train.batches(64, shuffle=True),
    epochs=12,
    verbose=0,
    callbacks=[
        callbacks.AnnealSharpness(2.0, 16.0, frequency="step"),
        callbacks.DiscretizationGap(*data.validation.arrays()),
    ],
).history
print(f"validation accuracy, exact steps: {history['hard_accuracy'][-1]:.1%}")

# %% [markdown]
# ## Analyse
#
# The model runs once; everything else is computed from bits and head.

# %%
analysis = interpret.analyze(
    model,
    x,
    y,
    class_names=data.class_names,
    attributes=data.test.attributes,
    attribute_names=data.attribute_names,
)
print(analysis.summary())

# %% [markdown]
# ## What switches a bit on
#
# The images on which a bit's logit is largest. A name that fits them may fit nothing else: below,
# the bits are held against the known attributes.

# %%
on = analysis.codes.bits
logits = keras.Model(model.input, model.get_layer("concepts").input).predict(x, verbose=0)
shown = np.argsort(np.abs(on.mean(0) - 0.4))[:5]
figure, grid = plt.subplots(5, 10, figsize=(10, 5.4))
for row, bit in zip(grid, shown, strict=True):
    for axes, image in zip(row, np.argsort(-logits[:, bit]), strict=False):
        axes.imshow(x[image])
        axes.axis("off")
    row[0].set_title(f"bit {bit}, on for {on[:, bit].mean():.0%}", fontsize=9, loc="left")
plt.show()

# %%
known = np.asarray(data.test.attributes, "float64")
with np.errstate(invalid="ignore"):
    together = np.corrcoef(on.T.astype("float64"), known.T)[: on.shape[1], on.shape[1] :]
plt.figure(figsize=(8, 4.2))
plt.imshow(together, cmap="PuOr_r", vmin=-1, vmax=1)
plt.xticks(range(known.shape[1]), data.attribute_names, rotation=60, ha="right")
plt.yticks(range(on.shape[1]))
plt.ylabel("bit")
plt.title("correlation of bits with what is known to be on the images")
plt.colorbar()
plt.show()

# %% [markdown]
# ## Explain one decision
#
# Shapley values, the bits that force the decision whatever the others are, and the fewest flips
# that change it: all exact, since behind the bits is a linear head.

# %%
explanation = analysis.explain(0)
print(explanation)
print("forced by", explanation.sufficient.bits)
print("becomes another class with", explanation.counterfactual.flips)

# %% [markdown]
# `analysis.report("report.html")` writes all of it as one file that needs no network.

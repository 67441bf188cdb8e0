"""Exact explanations of concept models, from their bits and the head in their card."""

from __future__ import annotations

import threading

import numpy as np

from keras_htaf.serving.errors import Refused

CONCEPTS = "concepts"
NODES = 2000


class Explainer:
    """What `keras_htaf.interpret` computes of a decision, without the model or Keras.

    Args:
        card: Of an ICBM.
        signs: Whether its concepts are -1 and 1; they become bits, and no decision changes.

    Raises:
        ValueError: If the head in the card does not fit together.

    Example:

    >>> import threading
    >>> import numpy as np
    >>> explainer = Explainer({"head": {"kernel": [[0.0, 3.0], [0.0, 1.0]], "bias": [0.5, 0.0]}})
    >>> found = explainer(np.array([[1.0, 0.0]]), {}, threading.Event())["explanations"][0]
    >>> found["decision"], found["sufficient"]["names"], found["flips"]["names"]
    (1, ['bit 0'], ['bit 0'])
    """

    def __init__(self, card: dict, signs: bool = False):
        from keras_htaf.interpret.codes import Codes

        head = card["head"]
        kernel, bias = (np.asarray(head[key], "float64") for key in ("kernel", "bias"))
        if signs:
            kernel, bias = 2 * kernel, bias - kernel.sum(axis=0)
        if kernel.ndim == 2 and kernel.shape[1] == 1:
            # One logit decides by its sign: against a class whose logit is 0.
            kernel, bias = (np.concatenate([0 * a, a], axis=-1) for a in (kernel, bias))
        names = {"class_names": card.get("classes"), "concept_names": card.get("concepts")}
        self._make, self._head = Codes, (kernel, bias, names)
        self.codes = self._codes(np.zeros((1, len(kernel)), bool))
        usage = card.get("usage")
        self.usage = None if usage is None else self._usage(usage)

    def __call__(self, concepts: np.ndarray, request: dict, stop: threading.Event) -> dict:
        """Explanations of all rows, as JSON has them.

        Args:
            concepts: The model's bits, (rows, m), 0 and 1 or -1 and 1.
            request: May have "usage", the share of samples on which each bit is on, and "nodes",
                the effort of the search for smallest sufficient sets.
            stop: Set where nobody waits for the answer any more.
        """
        nodes = request.get("nodes", NODES)
        if type(nodes) is not int or not 0 <= nodes <= NODES:
            raise Refused(400, f"Received nodes={nodes!r}. Expected a number from 0 to {NODES}.")
        if request.get("usage") is not None:
            usage, source = self._usage(request["usage"]), "request"
        elif self.usage is not None:
            usage, source = self.usage, "card"
        else:
            usage, source = np.full(self.codes.num_bits, 0.5), "half"
        codes = self._codes(concepts > 0)
        found = []
        for bits in codes.bits:
            if stop.is_set():
                break
            found.append(_explanation(codes, bits, usage, nodes))
        return {
            "explanations": found,
            "classes": list(codes.class_names),
            "concepts": list(codes.concept_names),
            "usage": {"source": source, "values": usage},
        }

    def _codes(self, bits):
        kernel, bias, names = self._head
        return self._make(bits, kernel, bias, **names)

    def _usage(self, value) -> np.ndarray:
        m = self.codes.num_bits
        try:
            usage = np.asarray(value, "float64")
        except (ValueError, TypeError):
            usage = np.empty(0)
        if usage.shape != (m,) or not ((usage >= 0) & (usage <= 1)).all():
            raise Refused(400, f'Expected "usage" to be a list of {m} numbers from 0 to 1.')
        return usage


def _explanation(codes, bits, usage, nodes) -> dict:
    from keras_htaf.interpret.explanations import shapley_values
    from keras_htaf.interpret.flips import counterfactual
    from keras_htaf.interpret.sufficient import sufficient_set

    logits = codes.logits_of(bits)
    decision = int(logits.argmax())
    rival = int(np.where(np.arange(len(logits)) == decision, -np.inf, logits).argmax())
    held, flips = sufficient_set(codes, bits, nodes), counterfactual(codes, bits)
    return {
        "decision": decision,
        "class": codes.class_names[decision],
        "rival": rival,
        "margin": logits[decision] - logits[rival],
        "logits": logits,
        "expected": usage @ codes.weights + codes.bias,
        "bits": bits.astype(np.uint8),
        "shapley": shapley_values(codes, bits, usage),
        "sufficient": {
            "bits": held.bits,
            "names": [codes.concept_names[j] for j in held.bits],
            "minimum": held.minimum,
            "at_least": held.at_least,
        },
        "flips": None
        if flips is None
        else {
            "bits": flips.flips,
            "names": [codes.concept_names[j] for j in flips.flips],
            "decision": flips.decision,
            "class": codes.class_names[flips.decision],
        },
    }

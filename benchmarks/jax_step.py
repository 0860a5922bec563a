"""A training step of the paper's network in JAX: run by a Python that has JAX, spoken to by pipe.

This file needs neither scratchnet nor torch. Requests are lines of JSON on standard input, answers
lines of JSON on standard output: ``{"do": "outcome", ...}`` or ``{"do": "run"}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Answer requests until the input ends.

    Args:
        order: ``arrays``, an .npz file with x and y (N, 3, H, W) and the parameters as torch lays
            them out, ``names`` of these in order, ``lr``, and ``threads``.
    """
    if hasattr(os, "sched_setaffinity"):  # JAX makes as many threads as it sees processors
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[: order["threads"]])

    import jax
    import jax.numpy as jnp
    import numpy as np

    arrays = np.load(order["arrays"])
    x, y = (jnp.asarray(arrays[name].transpose(0, 2, 3, 1)) for name in ("x", "y"))  # NHWC
    start = [arrays[name] for name in order["names"]]
    start = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in start]  # OIHW -> HWIO
    lr = order["lr"]

    def convolution(x: Any, weight: Any, bias: Any, stride: int = 1) -> Any:
        return bias + jax.lax.conv_general_dilated(
            x,
            weight,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def upsample(x: Any) -> Any:
        return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3, w4, b4 = parameters
        h = jax.nn.relu(convolution(x, w1, b1, stride=2))
        h = jax.nn.relu(convolution(h, w2, b2, stride=2))
        h = jax.nn.relu(convolution(upsample(h), w3, b3))
        h = jax.nn.sigmoid(convolution(upsample(h), w4, b4))
        return jnp.mean((h - y) ** 2)

    def updated(parameters: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(parameters, x, y)
        return jax.tree.map(lambda p, g: p - lr * g, parameters, grads), loss

    step = jax.jit(updated, donate_argnums=0)
    parameters = [jnp.array(a) for a in start]

    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {"jax": jax.__version__}
        if request["do"] == "outcome":
            grads = jax.grad(loss_of)(parameters, x, y)
            plain = [np.asarray(g) for g in grads]
            plain = [g.transpose(3, 2, 0, 1) if g.ndim == 4 else g for g in plain]
            np.savez(request["into"], *plain)
            answer["losses"] = []
            for _ in range(request["steps"]):
                parameters, loss = step(parameters, x, y)
                answer["losses"].append(float(loss))
        else:
            for _ in range(2):  # the first wakes the threads
                begin = time.perf_counter()
                parameters, loss = jax.block_until_ready(step(parameters, x, y))
                answer["seconds"] = time.perf_counter() - begin
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""Every example with scratchnet, and the same script with torch.nn, autograd and torch.optim.

`python benchmarks/examples.py [NAME ...]` writes the table in examples/README.md. Both start from
the same weights and take the same batches; the epochs are done in turns, and their time is added.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import scratchnet
from scratchnet.interop import to_torch

ROOT = Path(__file__).parent.parent
NAMES = [path.stem for path in sorted((ROOT / "examples").glob("*.py"))]
HEAD = (
    "| example | score here | torch.nn | time here | torch.nn | torch.nn ÷ here |\n" + "| --- " * 6
)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Ours:
    """The example's own loop."""

    def __init__(self, example: ModuleType, net: scratchnet.Module) -> None:
        self.net, self.loss = net, example.loss()
        self.optimizer = example.optimizer(net.param())

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.loss.forward(self.net.forward(x), y)
        self.net.zero_grad()
        self.net.backward_parameters(self.loss.backward())
        self.optimizer.step()

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.eval().forward(x)


class Torchs:
    """The same in torch.nn."""

    def __init__(self, example: ModuleType, net: scratchnet.Module) -> None:
        self.net = to_torch(net).train()
        self.loss = getattr(torch.nn, example.loss.__name__)()
        ours = example.optimizer(net.param())
        known = getattr(torch.optim, type(ours).__name__)
        options = {k: v for k, v in ours.defaults.items() if k in known([torch.ones(1)]).defaults}
        self.optimizer = known(self.net.parameters(), **options)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        loss = self.loss(self.net(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.net.eval()(x)


def measure(name: str) -> str:
    example = load(name)
    x, y, test_x, test_y = example.data()
    net = example.model(torch.Generator().manual_seed(0))
    rivals: list[Any] = [Torchs(example, net), Ours(example, net)]
    seconds = [0.0, 0.0]
    orders = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    for _ in range(example.EPOCHS):
        batches = torch.randperm(len(x), generator=orders).split(example.BATCH)
        for i, rival in enumerate(rivals):
            start = time.perf_counter()
            for batch in batches:
                rival.step(x[batch], y[batch])
            seconds[i] += time.perf_counter() - start
    torchs, ours = (example.score(rival.predict(test_x), test_y) for rival in rivals)
    what = (example.score.__doc__ or "").removeprefix("Return ").strip().rstrip(".")
    return (
        f"| [{name}]({name}.py): {what} | {ours:.2f} | {torchs:.2f} | {seconds[1]:.1f} s | "
        f"{seconds[0]:.1f} s | {seconds[0] / seconds[1]:.2f} |"
    )


def main() -> None:
    torch.set_num_threads(2)
    rows = []
    for name in sys.argv[1:] or NAMES:
        rows.append(measure(name))
        print(rows[-1], flush=True)
    if not sys.argv[1:]:
        page = ROOT / "examples" / "README.md"
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition("<!-- table -->\n")
        _, _, after = rest.partition("<!-- end -->\n")
        table = "\n".join([HEAD + "|", *rows])
        page.write_text(f"{before}<!-- table -->\n{table}\n<!-- end -->\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

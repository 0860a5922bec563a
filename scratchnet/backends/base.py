"""Backend: a name under which operations are implemented."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scratchnet.errors import ArgumentError
from scratchnet.ops.op import API_VERSION, Gradients, Implementation, Needs, Op, Verdict

__all__ = ["API_VERSION", "Backend", "Gradients", "Needs", "Verdict"]


def _available() -> Verdict:
    return True


class Backend:
    """A set of implementations that users select by one name.

    It implements as few operations as it likes; the others run on ``reference``, and ``explain``,
    ``info`` and trace say so.

    Args:
        name: how users select it; must equal its entry-point name.
        priority: among the backends that ``auto`` may use, the highest that supports a call wins.
        available: returns True if the backend can run on this machine, else the reason why not, in
            one line.

    Attributes:
        api_version: the version of this contract the backend was written for.
    """

    api_version: int = API_VERSION

    def __init__(
        self, name: str, *, priority: int = 0, available: Callable[[], Verdict] = _available
    ) -> None:
        self.name, self.priority, self.available = name, priority, available
        self._own: dict[str, Implementation] = {}

    def __repr__(self) -> str:
        return f"Backend({self.name!r})"

    def implement(
        self,
        op: Op,
        *,
        forward: Callable[..., tuple[Any, Any]] | None = None,
        backward: Callable[..., Gradients] | None = None,
        supports: Callable[..., Verdict] | None = None,
        how: Callable[..., str] | None = None,
    ) -> None:
        """Register how this backend computes ``op``; None stands for the reference's function.

        See :class:`scratchnet.ops.op.Implementation` for the arguments.

        Raises:
            ArgumentError: it has an implementation already.
        """
        if self.implementation(op) is not None:
            raise ArgumentError(f"backend {self.name!r} implements {op.name!r} already")
        usual = op.reference
        self._own[op.name] = Implementation(
            forward or usual.forward,
            backward or usual.backward,
            supports or usual.supports,
            how or usual.how,
        )

    def implementation(self, op: Op) -> Implementation | None:
        """Return how this backend computes ``op``; None if it does not."""
        if self.name == "reference":
            return op.reference
        return self._own.get(op.name) or op.implementations.get(self.name)

"""A registry of named plugins, found through entry points; one class serves every kind."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points, version
from typing import Any, ClassVar, Generic, TypeVar

from scratchnet.errors import PluginError

OWN_DISTRIBUTION = "scratchnet"
ALLOW_VARIABLE = "SCRATCHNET_PLUGINS"
BLOCK_VARIABLE = "SCRATCHNET_BLOCK"

T = TypeVar("T")
_Key = tuple[str, str | None, str | None]  # name, allow-list, block-list


@dataclass(frozen=True)
class PluginInfo:
    """What is known about a plugin without importing it.

    Attributes:
        name: how users select it.
        target: ``"package.module:Object"``, or the object's repr if it was registered at run time.
        distribution: the installed distribution that brings it; "" if registered at run time.
        version: that distribution's version; "" if registered at run time.
        builtin: True if it is scratchnet's own.
    """

    name: str
    target: str
    distribution: str
    version: str
    builtin: bool

    @property
    def origin(self) -> str:
        """Distribution and version for messages, e.g. ``"scratchnet-aten 0.1.0"``."""
        return f"{self.distribution} {self.version}" if self.distribution else "register()"


class Registry(Generic[T]):
    """Plugins of one kind, by name.

    Listing names imports nothing. A plugin is imported at the first ``get`` and remembered, and so
    is its failure: a broken plugin affects only those who ask for it.

    Args:
        group: the entry-point group, e.g. ``"scratchnet.layers"``.
        kind: what one plugin is called in messages, e.g. ``"layer"``.
        api_version: the contract's version; plugins written for another are refused.
        prepare: turns the loaded object into what ``get`` returns; raises TypeError if it is no
            such plugin.

    Attributes:
        all: every registry made so far, by group.
    """

    all: ClassVar[dict[str, Registry[Any]]] = {}

    def __init__(
        self, group: str, *, kind: str, api_version: int = 1, prepare: Callable[[Any], T]
    ) -> None:
        Registry.all[group] = self
        self.group, self.kind, self.api_version = group, kind, api_version
        self._prepare = prepare
        self._found: dict[str, list[EntryPoint]] | None = None
        self._registered: dict[str, Any] = {}
        self._loaded: dict[_Key, T | PluginError] = {}
        self.generation = 0  # grows with each change, so that others may cache

    # -- listing -----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return all names in alphabetical order, importing nothing."""
        return sorted(
            {name for name, points in self._scan().items() if points} | {*self._registered}
        )

    def info(self, name: str) -> PluginInfo:
        """Return what is known of ``name``, importing nothing.

        Raises:
            PluginError: there is no such name, or several distributions claim it.
        """
        if name in self._registered:
            return PluginInfo(name, repr(self._registered[name]), "", "", builtin=False)
        return _describe(self._entry_point(name))

    def problems(self) -> list[str]:
        """Return a line for each name that cannot be used as installed: claimed twice, shadowing a
        built-in, or built for another torch.
        """
        lines = []
        for name, points in sorted(self._scan().items()):
            builtin = [p for p in points if _describe(p).builtin]
            if builtin and len(points) > 1:
                others = ", ".join(_describe(p).origin for p in points if p not in builtin)
                lines.append(f"{self.kind} {name!r} of {others} is ignored: the name is built in")
            elif len(points) > 1:
                lines.append(self._ambiguous(name, points))
            elif points and _other_torch(points[0]):
                lines.append(self._for_other_torch(points[0]))
        return lines

    def _scan(self) -> dict[str, list[EntryPoint]]:
        """Return {name: entry points that claim it}, after the allow-list and the block-list."""
        return {name: self._points(name) for name in self._installed()}

    def _points(self, name: str) -> list[EntryPoint]:
        """Return the entry points that claim one name, after the two lists."""
        return [point for point in self._installed().get(name, []) if not _barred(point)]

    def _installed(self) -> dict[str, list[EntryPoint]]:
        if self._found is None:
            self._found = {}
            for point in entry_points(group=self.group):
                self._found.setdefault(point.name, []).append(point)
        return self._found

    def refresh(self) -> None:
        """Forget what was found and loaded, to see newly installed distributions."""
        self._found = None
        self._loaded.clear()
        self.generation += 1

    # -- loading -----------------------------------------------------------------------------------

    def get(self, name: str) -> T:
        """Return the plugin called ``name``, or the object at ``"package.module:Object"``.

        Raises:
            PluginError: it is missing, blocked, ambiguous, broken, written for another version of
                the contract, or built for another torch.
        """
        # the two lists belong to the key: changing them takes effect at once
        key = name, os.environ.get(ALLOW_VARIABLE), os.environ.get(BLOCK_VARIABLE)
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(name)
            except PluginError as error:
                self._loaded[key] = error
        found = self._loaded[key]
        if isinstance(found, PluginError):
            raise found.with_traceback(None)
        return found

    def _load(self, name: str) -> T:
        if name in self._registered:
            return self._check(name, self._registered[name], "register()")
        if ":" in name:
            point = EntryPoint(name=name, value=name, group=self.group)
            origin = "given by its path"
        else:
            point = self._entry_point(name)
            origin = _describe(point).origin
        if _other_torch(point):  # before the import: what is loaded into another torch may crash
            raise PluginError(self._for_other_torch(point))
        try:
            obj = point.load()
        except Exception as error:
            raise PluginError(
                f"{self.kind} {name!r} ({origin}) cannot be imported from {point.value}: "
                f"{type(error).__name__}: {error}; mend or uninstall it, "
                f"or hide it with {BLOCK_VARIABLE}={name}"
            ) from error
        return self._check(name, obj, origin)

    def _check(self, name: str, obj: Any, origin: str) -> T:
        version = getattr(obj, "api_version", self.api_version)
        if version != self.api_version:
            raise PluginError(
                f"{self.kind} {name!r} ({origin}) is written for api_version {version}, this "
                f"scratchnet has {self.api_version}: install a release of the plugin that fits"
            )
        try:
            return self._prepare(obj)
        except Exception as error:
            raise PluginError(
                f"{self.kind} {name!r} ({origin}) cannot be used: {type(error).__name__}: {error}"
            ) from error

    def _entry_point(self, name: str) -> EntryPoint:
        points = self._points(name)
        builtin = [p for p in points if _describe(p).builtin]
        if builtin:
            return builtin[0]
        if len(points) == 1:
            return points[0]
        if points:
            raise PluginError(self._ambiguous(name, points))
        raise PluginError(self._missing(name))

    def _ambiguous(self, name: str, points: list[EntryPoint]) -> str:
        origins = " and ".join(_describe(p).origin for p in points)
        return (
            f"{self.kind} {name!r} is claimed by {origins}: uninstall one, "
            f"hide one with {BLOCK_VARIABLE}=DISTRIBUTION, or name yours as {points[0].value!r}"
        )

    def _for_other_torch(self, point: EntryPoint) -> str:
        return (
            f"{self.kind} {point.name!r} ({_describe(point).origin}) is built for "
            f"{_other_torch(point)}, but torch {version('torch')} is running: install a release of "
            "the plugin for this torch, or that torch"
        )

    def _missing(self, name: str) -> str:
        if self._found and self._found.get(name):
            return (
                f"{self.kind} {name!r} is installed but hidden by {ALLOW_VARIABLE} or "
                f"{BLOCK_VARIABLE}: change that environment variable"
            )
        names = self.names()
        by_lower = {known.lower(): known for known in names}
        asked = str(name).lower()
        begins = sorted((known for known in by_lower if asked.startswith(f"{known}_")), key=len)
        close = begins[-1:] or difflib.get_close_matches(asked, by_lower, n=1)
        hint = f"did you mean {by_lower[close[0]]!r}? " if close else ""
        return (
            f"there is no {self.kind} {name!r}: {hint}known are {', '.join(names) or 'none'}; "
            "a plugin must be installed in this environment, or given as 'package.module:Object'"
        )

    # -- registering at run time -------------------------------------------------------------------

    def register(self, name: str, obj: Any) -> None:
        """Make ``obj`` known as ``name`` in this process.

        Raises:
            PluginError: the name is taken.
        """
        if name in self.names():
            raise PluginError(
                f"{self.kind} {name!r} exists ({self.info(name).origin}): choose another name"
                + (f" or unregister({name!r}) first" if name in self._registered else "")
            )
        self._registered[name] = obj
        self._forget(name)

    def unregister(self, name: str) -> None:
        """Forget a name given by :meth:`register`.

        Raises:
            PluginError: the name was not registered.
        """
        if name not in self._registered:
            raise PluginError(
                f"{self.kind} {name!r} was not registered, so it cannot be unregistered"
            )
        del self._registered[name]
        self._forget(name)

    def _forget(self, name: str) -> None:
        for key in [key for key in self._loaded if key[0] == name]:
            del self._loaded[key]
        self.generation += 1


def function(obj: Any) -> Callable[..., Any]:
    """Return ``obj`` if it can be called: the ``prepare`` of registries of functions and classes.

    Raises:
        TypeError: it cannot.
    """
    if not callable(obj):
        raise TypeError(f"expected a function or a class, got {obj!r}")
    made: Callable[..., Any] = obj
    return made


@cache
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Return both, read once: each time they are asked for, a distribution reads its files."""
    return distribution.name, distribution.version


def _describe(point: EntryPoint) -> PluginInfo:
    distribution, version = _name_and_version(point.dist) if point.dist else ("", "")
    return PluginInfo(
        point.name, point.value, distribution, version, builtin=distribution == OWN_DISTRIBUTION
    )


def _other_torch(point: EntryPoint) -> str:
    """Return which torch the plugin's distribution requires, if it is not the one that is
    installed; else "". Our own extension speaks for itself: without it there is the reference.
    """
    if _describe(point).builtin or point.dist is None:
        return ""
    from packaging.requirements import InvalidRequirement, Requirement  # not wanted by most users

    for line in point.dist.requires or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if wanted.name == "torch" and applies:
            # prereleases: a nightly build is a torch, too
            fits = wanted.specifier.contains(version("torch"), prereleases=True)
            return "" if fits else f"torch{wanted.specifier}"
    return ""


def _barred(point: EntryPoint) -> bool:
    """Whether the allow-list or the block-list hides this plugin; both name plugins or
    distributions.
    """
    info = _describe(point)
    if info.builtin:
        return False
    allow, block = os.environ.get(ALLOW_VARIABLE), os.environ.get(BLOCK_VARIABLE)
    own_names = {info.name, info.distribution}
    return (allow is not None and not own_names & _listed(allow)) or (
        block is not None and bool(own_names & _listed(block))
    )


def _listed(value: str) -> set[str]:
    return {item.strip() for item in value.split(",") if item.strip()}

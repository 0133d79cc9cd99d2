"""Families of operators: modules of one package, each for some operators, imported when one of these is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType


class Families:
    """The modules of ``package``, but for those whose names begin with an underscore.

    index: the operators that each module is for, as words (``Relu com.microsoft::Gelu``). It saves imports and need
    not be complete: an operator that it lacks is looked for in every module.
    """

    def __init__(self, package: str, index: Mapping[str, str]) -> None:
        self._package = package
        self._homes: dict[str, list[str]] = {}
        self._more: list[str] = []
        for module, operators in sorted(index.items()):
            self._note(f"{package}.{module}", operators)

    def add(self, module: str, operators: str) -> None:
        """One more module, of any package, for the operators given as words: nothing else has them."""
        self._more.append(module)
        self._note(module, operators)

    def _note(self, module: str, operators: str) -> None:
        for operator in operators.split():
            self._homes.setdefault(operator, []).append(module)

    def lists(self, domain: str, op: str) -> bool:
        """Whether the index has an operator."""
        return word(domain, op) in self._homes

    def modules(self, domain: str, op: str) -> list[ModuleType]:
        """The modules that may have something for an operator, by name."""
        homes = self._homes.get(word(domain, op))
        return self.all() if homes is None else [import_module(name) for name in homes]

    def all(self) -> list[ModuleType]:
        """Every module, by name."""
        import pkgutil

        names = sorted(info.name for info in pkgutil.iter_modules(import_module(self._package).__path__))
        own = [f"{self._package}.{name}" for name in names if not name.startswith("_")]
        return [import_module(name) for name in (*own, *self._more)]


def word(domain: str, op: str) -> str:
    """An operator as one word: ``Relu``, ``com.microsoft::Gelu``."""
    return f"{domain}::{op}" if domain else op

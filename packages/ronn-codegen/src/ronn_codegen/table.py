"""Tables of lowerings: those that every device shares, and those of one device, which stand before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ronn.families import Families
from ronn.ops import custom
from ronn.records import dataclass
from ronn_codegen.index import LOWERINGS

if TYPE_CHECKING:
    from ronn_codegen.lowering import Lowering

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Entry:
    """A lowering and the nodes it is for."""

    fn: Callable[[Lowering], None]
    since: int
    until: int | None
    empty: bool
    counted: bool
    alike: bool


class Table:
    """Lowerings by operator: those marked with ``lower`` in the modules of ``package``, and for other operators those
    of ``base``. ``index`` says which module is for which operators (see ``ronn.families``)."""

    def __init__(self, package: str, index: Mapping[str, str], base: Table | None = None) -> None:
        self.families = Families(package, index)
        self.base = base
        self._own: dict[tuple[str, str], list[Entry]] = {}
        self._known: dict[tuple[str, str], Sequence[Entry]] = {}

    def lower(
        self,
        op: str,
        *,
        domain: str = "",
        since: int = 1,
        until: int | None = None,
        empty: bool = False,
        counted: bool = False,
        alike: bool = False,
    ) -> Callable[[F], F]:
        """Marks the lowering of an operator for schema versions ``since`` to ``until``.

        ``empty``: it also takes nodes with inputs of no elements. ``counted``: its kernels find out the sizes of
        outputs, so that only those of the inputs are known. ``alike``: see ``ronn_codegen.alike``.
        """

        def mark(fn: F) -> F:
            entries = self._own.setdefault((domain, op), [])
            entries.append(Entry(fn, since, until, empty, counted, alike))
            entries.sort(key=lambda e: -e.since)
            return fn

        return mark

    def add(self, module: str, operators: str) -> None:
        """Has lowerings of another package found: ``module`` is imported for ``operators`` (``my.domain::Op``)."""
        self.families.add(module, operators)

    def own(self) -> Mapping[tuple[str, str], list[Entry]]:
        """Every lowering but those of ``base``, by domain and operator."""
        self.families.all()
        return self._own

    def all(self) -> Mapping[tuple[str, str], list[Entry]]:
        """Every lowering, by domain and operator."""
        base = {} if self.base is None else self.base.all()
        return {**base, **self.own()}

    def forget(self, domain: str, op: str) -> None:
        """Takes the lowerings of an operator out."""
        self._own.pop((domain, op), None)
        self._known.clear()

    def entries(self, domain: str, op: str) -> Sequence[Entry]:
        """The lowerings of an operator, the newest first."""
        key = (domain, op)
        found = self._known.get(key)
        if found is None:
            # Custom operators are registered, not found; what base's index has alone is looked for there alone.
            if key not in custom.table and (self.families.lists(*key) or not self._base_lists(*key)):
                self.families.modules(domain, op)
            found = self._own.get(key, ())
            if not found and self.base is not None:
                found = self.base.entries(domain, op)
            self._known[key] = found
        return found

    def _base_lists(self, domain: str, op: str) -> bool:
        return self.base is not None and self.base.families.lists(domain, op)


SHARED = Table("ronn_codegen.lower", LOWERINGS)
"""Lowerings that hold for every device."""

lower = SHARED.lower

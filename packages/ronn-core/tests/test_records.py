"""Records behave as the standard library's dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from ronn import records

OPTIONS = [
    {}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True}, {"eq": False},
    {"frozen": True, "slots": True, "eq": False},
]  # fmt: skip


def make(dataclass: Any, **options: Any) -> Any:
    """One class with every kind of field, and a subclass."""

    @dataclass(**options)
    class Base:
        """A base."""

        a: int
        b: str = "b"
        c: list[int] = records.field(default_factory=list)
        count: ClassVar[int] = 3
        hidden: int = records.field(default=4, compare=False, repr=False)
        made: int = records.field(default=0, init=False)

        def twice(self) -> int:
            return 2 * self.a

    @dataclass(**options)
    class Derived(Base):
        b: str = "other"
        d: tuple[int, ...] = ()

    return Base, Derived


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_as_the_standard_library(options: dict[str, Any]) -> None:
    for own, standard in zip(make(records.dataclass, **options), make(dataclasses.dataclass, **options), strict=True):
        assert own.__match_args__ == standard.__match_args__
        assert own.__doc__ == standard.__doc__ or not own.__doc__
        assert own.count == 3
        assert (own.__hash__ is None) == (standard.__hash__ is None)
        for args, kwargs in [((1,), {}), ((1, "x", [2]), {"hidden": 5}), ((), {"a": 2, "c": [1]})]:
            x, y = own(*args, **kwargs), standard(*args, **kwargs)
            assert repr(x) == repr(y)
            assert x.twice() == y.twice()
            assert dataclasses.asdict(x) == dataclasses.asdict(y)
            assert [f.name for f in dataclasses.fields(x)] == [f.name for f in dataclasses.fields(y)]
            assert repr(dataclasses.replace(x, a=9)) == repr(dataclasses.replace(y, a=9)) == repr(x.__replace__(a=9))
            assert (x == own(*args, **kwargs)) == (y == standard(*args, **kwargs))
            assert x != y
            assert repr(copy.copy(x)) == repr(y)
            assert repr(copy.deepcopy(x)) == repr(y)
            assert hasattr(x, "__dict__") == hasattr(y, "__dict__")
            outcomes = []
            for it in (x, y):
                try:
                    it.a = 7
                    outcomes.append(repr(it))
                except dataclasses.FrozenInstanceError as e:
                    outcomes.append(str(e))
            assert outcomes[0] == outcomes[1]
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
            own()
        with pytest.raises(TypeError, match="unexpected keyword argument 'e'"):
            own(1, e=1)


@records.dataclass(frozen=True, slots=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")


def test_equality_and_hash_follow_the_compared_fields() -> None:
    @records.dataclass(frozen=True)
    class Named:
        name: str
        note: str = records.field(default="", compare=False)

    assert Named("a", "x") == Named("a", "y")
    assert hash(Named("a", "x")) == hash(Named("a", "y"))
    assert Named("a") != Named("b")
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2


def test_written_methods_stay() -> None:
    @records.dataclass(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and self.a % 2 == other.a % 2

        def __hash__(self) -> int:
            return self.a % 2

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == Own(3)
    assert hash(Own(3)) == 1
    assert repr(Own(1)) == "own"


def test_post_init_pickle_and_patterns() -> None:
    with pytest.raises(ValueError, match="negative"):
        Point(-1)
    assert pickle.loads(pickle.dumps(Point(3, 4))) == Point(3, 4)
    match Point(5):
        case Point(x, y):
            assert (x, y) == (5, 0)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del Point(1).x  # type: ignore[misc]


def test_a_repr_that_holds_itself_ends() -> None:
    @records.dataclass
    class Ring:
        next: Any = None

    ring = Ring()
    ring.next = ring
    assert repr(ring).endswith("Ring(next=...)")


def test_shared_mutable_defaults_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Bad.items: .* use default_factory"):

        @records.dataclass
        class Bad:
            items: list[int] = []

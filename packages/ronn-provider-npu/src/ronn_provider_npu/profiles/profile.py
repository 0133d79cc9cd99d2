"""``DeviceProfile``: what an accelerator can do and what that costs, as a TOML file says it.

    name = "tiny"
    launch_s = 2e-6                 # what starting a kernel costs, in seconds

    [vector]
    width = 8                       # elements of 32 bits at once
    peak = { float32 = 1e10 }       # operations a second, by dtype; "*" is any other one

    [memory]
    on_chip = "256 KiB"             # what the kernels that run at a time may use
    bandwidth = 1e10                # bytes a second, of the memory behind it

Everything else has a default: there is no matrix unit, every operator may run. ``fields`` in ``reading`` is the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

from ronn.errors import OptionError, nearest
from ronn.records import dataclass, field, replace

__all__ = [
    "DeviceProfile", "MatrixUnit", "Memory", "Operators", "Power", "Rates", "Transfer", "VectorUnit", "shipped_names",
]  # fmt: skip

ANY = "*"
INT8 = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class Rates:
    """A figure for each dtype (named as NumPy does); ``*`` stands for those that are not named."""

    pairs: tuple[tuple[str, float], ...] = ()

    def of(self, dtype: str) -> float | None:
        """The figure of a dtype; None where there is none."""
        known = dict(self.pairs)
        return known.get(dtype, known.get(ANY))

    def __contains__(self, dtype: str) -> bool:
        return self.of(dtype) is not None

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        return ", ".join("any other" if name == ANY and len(self) > 1 else name for name in self)


@dataclass(frozen=True)
class MatrixUnit:
    """The unit for products and convolutions: an array of ``rows`` x ``columns`` multipliers, each of which adds up
    ``depth`` products at once. peak: operations a second (a multiply-add is two) by dtype of the operands; what is not
    there is not multiplied. Without a unit (no peak) products run on the vector unit."""

    rows: int = 1
    columns: int = 1
    depth: int = 1
    peak: Rates = Rates()


@dataclass(frozen=True)
class VectorUnit:
    """The unit for all else. width: elements of 32 bits at once (0: as the device tells). group: most work-items of a
    group. peak: operations a second by dtype; tensors of dtypes that are not there stay out."""

    width: int = 0
    group: int = 64
    peak: Rates = Rates()


@dataclass(frozen=True)
class Memory:
    """on_chip: bytes beside the units, for all that runs at a time. bandwidth: bytes a second of the memory behind
    it. alignment: tensors start at multiples of so many bytes. views: a tensor may lie inside of another one at any
    byte that its elements may lie at. cached: it is behind caches, and a device that keeps local memory in it is not
    asked to: kernels then compute in registers. cache: bytes of the last of these caches, which estimates take for near
    the units; 0: there is none."""

    on_chip: int = 32 << 10
    bandwidth: float = 1e10
    alignment: int = 64
    views: bool = True
    cached: bool = False
    cache: int = 0


@dataclass(frozen=True)
class Operators:
    """Patterns of operators (``Conv``, ``com.microsoft::*``, ``*``): those of ``deny`` stay out, and what ``allow``
    does not have. dtypes: of operators that take others than the units: (pattern, dtypes). max_rank: of tensors."""

    allow: tuple[str, ...] = (ANY,)
    deny: tuple[str, ...] = ()
    dtypes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    max_rank: int = 16

    def refusal(self, op_id: str) -> str:
        """Why an operator stays out; empty where it does not."""
        found = next((p for p in self.deny if fnmatchcase(op_id, p)), None)
        if found is not None:
            return f"it has no {op_id}" if found == op_id else f"it has no {op_id} (deny: {found})"
        return "" if any(fnmatchcase(op_id, p) for p in self.allow) else f"it has no {op_id} (not in allow)"

    def dtypes_of(self, op_id: str) -> tuple[str, ...] | None:
        """The dtypes that an operator takes; None where it takes those of the units."""
        return next((d for p, d in self.dtypes if fnmatchcase(op_id, p)), None)


@dataclass(frozen=True)
class Transfer:
    """Between the host and the device's memory: bytes a second, seconds before the first byte, bytes of one piece, and
    whether one piece is moved while another is worked on (then on-chip memory holds both: half of it is a kernel's)."""

    bandwidth: float = 1e10
    latency_s: float = 0.0
    chunk: int = 1 << 20
    double_buffering: bool = False


@dataclass(frozen=True)
class Power:
    """idle_w: watts while nothing is computed. tdp_w: the most that it may take. operation_j: joules of an operation
    by dtype; byte_j: joules of a byte moved to or from the memory behind the chip. Without the last two an estimate
    takes the watts of ``tdp_w`` while there is work."""

    idle_w: float = 0.0
    tdp_w: float = 0.0
    operation_j: Rates = Rates()
    byte_j: float = 0.0


@dataclass(frozen=True)
class DeviceProfile:
    """What an accelerator can do. ``str`` of it is for people; equal profiles make equal kernels."""

    name: str
    description: str = ""
    matrix: MatrixUnit = MatrixUnit()
    vector: VectorUnit = VectorUnit()
    memory: Memory = Memory()
    operators: Operators = Operators()
    transfer: Transfer = Transfer()
    power: Power = Power()
    launch_s: float = 0.0
    source: str = field(default="", compare=False)

    @classmethod
    def from_file(cls, path: str | Path) -> DeviceProfile:
        """The profile of a TOML file. OptionError, naming file and key, for what it cannot say."""
        from ronn_provider_npu.profiles.reading import profile_of

        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
            raise OptionError(
                f"{path}: cannot be read as a device profile: {reason}",
                hint=f"a TOML file, or one of {', '.join(shipped_names())}",
            ) from e
        return profile_of(text, str(path))

    @classmethod
    def shipped(cls, name: str) -> DeviceProfile:
        """One of the profiles that come with the package. OptionError for a name that there is not."""
        from ronn_provider_npu.profiles.reading import profile_of

        if name not in shipped_names():
            near = nearest(name, list(shipped_names()))
            known = f"shipped: {', '.join(shipped_names())}; or the path of a TOML file"
            raise OptionError(
                f"there is no profile {name!r}", hint=f"did you mean {near!r}? ({known})" if near else known
            )
        return profile_of(_text(name), f"{name}.toml")

    @classmethod
    def of(cls, name_or_path: str) -> DeviceProfile:
        """A profile that people name: a path where it ends in ``.toml`` or has a folder, else one that is shipped."""
        as_path = Path(name_or_path)
        if as_path.suffix == ".toml" or len(as_path.parts) > 1:
            return cls.from_file(as_path)
        return cls.shipped(name_or_path)

    @property
    def has_matrix_unit(self) -> bool:
        return bool(len(self.matrix.peak))

    @property
    def products(self) -> Rates:
        """Operations a second of products by dtype: of the matrix unit, or of the vector unit where there is none."""
        return self.matrix.peak if self.has_matrix_unit else self.vector.peak

    @property
    def int8_only(self) -> bool:
        """Whether products are of 8-bit integers and nothing else: models must be quantised to run on it."""
        return bool(len(self.products)) and set(self.products) <= INT8

    @property
    def unit(self) -> tuple[int, int, int]:
        """Rows, columns and depth of the matrix unit; 1, 1, 1 where there is none."""
        return self.matrix.rows, self.matrix.columns, self.matrix.depth

    @property
    def near_bytes(self) -> int:
        """Bytes that estimates take for near the units: on-chip memory, or caches where they are larger."""
        return max(self.kernel_bytes, self.memory.cache)

    @property
    def kernel_bytes(self) -> int:
        """On-chip bytes that one kernel may use: half of them where transfers are double-buffered."""
        return self.memory.on_chip // 2 if self.transfer.double_buffering else self.memory.on_chip

    def with_on_chip(self, nbytes: int) -> DeviceProfile:
        """The same with other on-chip memory."""
        return replace(self, memory=replace(self.memory, on_chip=nbytes))

    def __str__(self) -> str:
        from ronn_provider_npu.profiles.text import explained

        return explained(self)


def shipped_names() -> Sequence[str]:
    """The names of the profiles that come with the package."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def toml_of(profile: DeviceProfile) -> str:
    """The text of the file that a profile came from. OptionError where it is no longer there."""
    if profile.source == f"{profile.name}.toml" and profile.name in shipped_names():
        return _text(profile.name)
    try:
        return Path(profile.source).read_text(encoding="utf-8")
    except OSError as e:
        raise OptionError(f"{profile.source}: cannot be read again: {e.strerror}") from e

"""OpenCL devices: all of every platform, the usable ones by stable names, the others with what is wrong with them.

Names count the usable devices in the order in which the platforms list them, ``opencl:0`` first: they stay the same as
long as the installed platforms do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError, ProviderError
from ronn.plan.budget import size_text
from ronn.provider.contract import Device, Unavailable
from ronn.records import dataclass, field

if TYPE_CHECKING:
    import pyopencl as cl

INSTALL = "pip install pyopencl"
POCL = "pip install ronn-provider-npu[pocl] brings one that runs on the processor"
FORKED = "OpenCL was in use before this process was forked, and does not work in children of such processes"
_HOME = "PYOPENCL_HOME"
_LEAST = (1, 2)
"""The oldest OpenCL C that kernels are written in."""


@dataclass(frozen=True, slots=True)
class Found:
    """A device. name: ``opencl:0``, empty for an unusable one. reason: why it is unusable. device: pyopencl's."""

    name: str
    platform: str
    title: str
    description: str
    device: Any = field(compare=False)
    reason: str = ""
    is_cpu: bool = False


@lru_cache(maxsize=1)
def found() -> tuple[Found, ...]:
    """All devices, and platforms without any. Unavailable where there is no OpenCL at all."""
    with _environment():
        cl = _pyopencl()
        platforms = _platforms(cl)
    devices: list[Found] = []
    usable = 0
    for platform in platforms:
        name = _told(platform, "name", "a platform without a name")
        try:
            listed = platform.get_devices()
        except cl.Error as e:
            devices.append(Found("", name, name, name, None, _words(cl, e, "the platform lists no device")))
            continue
        if not listed:
            devices.append(Found("", name, name, name, None, "the platform lists no device"))
        for device in listed:
            one = _looked_at(cl, name, device, f"opencl:{usable}")
            usable += not one.reason
            devices.append(one)
    return tuple(devices)


def usable() -> Sequence[Found]:
    """The devices that can be used. Unavailable, saying what is wrong with each, where there is none."""
    if _used_by_parent:
        raise Unavailable(FORKED)
    every = found()
    good = [f for f in every if not f.reason]
    if not good:
        what = "; ".join(f"{f.title}: {f.reason}" for f in every)
        raise Unavailable(f"no OpenCL device can be used ({what}); {POCL}" if what else f"no OpenCL device; {POCL}")
    return good


def check() -> None:
    """Raises ProviderError where devices that were found cannot be used any more."""
    if _used_by_parent:
        raise ProviderError(FORKED, hint='multiprocessing.get_context("spawn") starts processes that can use it')


def known() -> Sequence[str]:
    """What tells the devices of this process, and their drivers, from others; none where there is no OpenCL."""
    try:
        return [about(f.device) for f in found() if f.device is not None and not f.reason]
    except Unavailable:
        return ()


def about(device: cl.Device) -> str:
    """What tells a device and its driver from others."""
    platform = device.platform
    words = (device.name, device.version, device.driver_version, platform.name, platform.version)
    return ", ".join(w.strip() for w in words)


def unusable() -> Mapping[str, str]:
    """The devices that cannot be used, and why."""
    if found.cache_info().currsize == 0:
        return {}
    return {f"{f.title} of {f.platform}" if f.title != f.platform else f.platform: f.reason
            for f in found() if f.reason}  # fmt: skip


def choose(wanted: str | int | None, given: Sequence[Device]) -> Device:
    """The device that an option names: by its number, its name, or part of what it is called. OptionError, with what
    there is, for none or several."""
    text = "" if wanted is None else str(wanted).strip()
    if not text:
        return given[0]
    exact = [d for d in given if text in (d.name, d.name.rpartition(":")[2])]
    alike = exact if exact else [d for d in given if text.lower() in d.description.lower()]
    if len(alike) == 1:
        return alike[0]
    there = "; ".join(f"{d.name} {d.description}" for d in given)
    gone = "".join(f"; unusable: {name}: {why}" for name, why in unusable().items())
    what = "names several devices" if alike else "is no device"
    raise OptionError(f"device={wanted!r} {what}", hint=f"a number, a name, or part of a description of: {there}{gone}")


def device_of(name: str) -> cl.Device:
    """The device of a name that ``usable`` gives."""
    return next(f.device for f in usable() if f.name == name)


# --- looking


def _pyopencl() -> Any:
    try:
        import pyopencl
    except ImportError as e:
        raise Unavailable(f"pyopencl cannot be imported: {e} ({INSTALL})") from e
    return pyopencl


@contextmanager
def _environment() -> Iterator[None]:
    """Leaves the environment as it was: pyopencl says there, for its loader of platforms, where it lies, which is
    nothing for child processes that may have another one."""
    before = os.environ.get(_HOME)
    try:
        yield
    finally:
        os.environ.pop(_HOME, None)
        if before is not None:
            os.environ[_HOME] = before


def _platforms(cl: Any) -> Sequence[Any]:
    try:
        found: Sequence[Any] = cl.get_platforms()
    except cl.Error as e:
        raise Unavailable(f"{_words(cl, e, 'no OpenCL platform is installed')}; {POCL}") from e
    if not found:
        raise Unavailable(f"no OpenCL platform is installed; {POCL}")
    return found


def _looked_at(cl: Any, platform: str, device: Any, name: str) -> Found:
    try:
        reason = _problem(device)
        memory, version = size_text(device.global_mem_size), device.version.strip()
        title = device.name.strip()
        made = f"{title} ({platform}, {version}, {memory})"
        is_cpu = bool(device.type & cl.device_type.CPU)
        return Found("" if reason else name, platform, title, made, device, reason, is_cpu)
    except cl.Error as e:
        return Found("", platform, "a device", platform, device, _words(cl, e, "it does not tell what it is"))


def _problem(device: Any) -> str:
    if not device.available:
        return "its driver says that it is not available"
    if not device.compiler_available:
        return "it has no compiler for kernels"
    version = device.opencl_c_version.split()
    try:
        known = tuple(int(n) for n in version[2].split("."))
    except (IndexError, ValueError):
        return f"its version of OpenCL C is not known: {device.opencl_c_version!r}"
    return "" if known >= _LEAST else f"it has OpenCL C {version[2]}, and 1.2 is needed"


def _told(thing: Any, name: str, default: str) -> str:
    try:
        return str(getattr(thing, name)).strip()
    except Exception:  # a broken driver: any
        return default


def _words(cl: Any, error: Any, what: str) -> str:
    code = getattr(error, "code", None)
    if code is None:
        return f"{what}: {error}"
    return f"{what} ({cl.status_code.to_string(code, 'error %d')})"


_used_by_parent = False


def _after_fork() -> None:
    global _used_by_parent
    _used_by_parent = _used_by_parent or found.cache_info().currsize > 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""The few native primitives that the executor needs: atomics, pause, calls through addresses, the cycle counter.

Words are 64 bits wide and addressed as ``address + 8 * index``.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Builder = Any
_I64 = ir.IntType(64)
_PAUSE = {"x86_64": "llvm.x86.sse2.pause", "AMD64": "llvm.x86.sse2.pause"}.get(platform.machine())


def _word(builder: Builder, address: Any, index: Any) -> Any:
    place = builder.add(address, builder.shl(index, ir.Constant(_I64, 3)))
    return builder.inttoptr(place, _I64.as_pointer())


@intrinsic
def read(typing: Any, address: Any, index: Any) -> Any:
    """A word, with no ordering."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        return builder.load(_word(builder, *args), typ=_I64)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def write(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Writes a word, with no ordering."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        builder.store(args[2], _word(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def load_acquire(typing: Any, address: Any, index: Any) -> Any:
    """A word, read before everything that follows."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, *args), "acquire", 8, typ=_I64)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def load_ordered(typing: Any, address: Any, index: Any) -> Any:
    """A word, sequentially consistent."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, *args), "seq_cst", 8, typ=_I64)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def store_release(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Writes a word after everything that came before."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(builder, args[0], args[1]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def fetch_add(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Adds to a word, sequentially consistent; returns what was there."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(builder, args[0], args[1]), args[2], "seq_cst")

    return types.intp(types.intp, types.intp, types.intp), generate


@intrinsic
def compare_exchange(typing: Any, address: Any, index: Any, expected: Any, value: Any) -> Any:
    """Puts ``value`` in the place of ``expected``, sequentially consistent; whether that is what was there."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        both = builder.cmpxchg(_word(builder, args[0], args[1]), args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(both, 1)

    return types.boolean(types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def pause(typing: Any) -> Any:
    """Tells the processor that this is a spin loop."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        if _PAUSE is not None:
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), _PAUSE), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def cycles(typing: Any) -> Any:
    """The processor's cycle counter (constant rate on every current processor)."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        name = "llvm.readcyclecounter"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I64, []), name), [])

    return types.intp(), generate


@intrinsic
def call_kernel(typing: Any, function: Any, block: Any, worker: Any, workers: Any) -> Any:
    """Calls the kernel at an address."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def system_call(typing: Any, function: Any, number: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Calls libc's ``syscall`` at the address ``function`` with four arguments."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * 5, var_arg=True)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.intp(*[types.intp] * 6), generate

"""Compiles declared kernels to one relocatable object, for any target that LLVM has and without running it.

numba types and lowers each function; its IR is linked into one module, each kernel gets an entry point
``void name(const int64 *block, int64 worker, int64 workers)``, and LLVM optimises the whole once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import codegen as numba_codegen
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from ronn_codegen.native.declare import Declared, Signature
from ronn_codegen.native.machine import Machine
from ronn_codegen.native.support import NAMES, SUPPORT

_I64 = ir.IntType(64)
_KINDS = {"i64": types.intp, "f32": types.float32, "f64": types.float64}


class _Library(numba_codegen.AOTCodeLibrary):
    """Leaves optimisation to the end, when everything is in one module."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def get_pointer_to_function(self, name: str) -> int:
        """numba asks for it when it has compiled a callee; nothing is ever called through it."""
        return 0


class _Codegen(numba_codegen.AOTCPUCodegen):
    _library_class = _Library

    def set_env(self, env_name: str, env: Any) -> None:
        """Kernels have no environment: they touch no Python object."""


@global_compiler_lock
def compile_object(kernels: Sequence[Declared], machine: Machine) -> bytes:
    """An object file (ELF) with one entry point per kernel, for ``machine``. Raises what numba raises."""
    text = to_llvm(kernels, machine)
    return emit(text, machine, [k.signature.name for k in kernels])


@global_compiler_lock
def to_llvm(kernels: Sequence[Declared], machine: Machine) -> Any:
    """The LLVM module of the kernels with their entry points, not yet optimised."""
    context = cpu_target.target_context.with_aot_codegen("kernels")
    context._internal_codegen = _Codegen("kernels")
    typing = cpu_target.typing_context
    library = context.codegen().create_library("kernels")
    entries = ir.Module("entries")
    with _compiling_into(context):
        for kernel in kernels:
            made = kernel.factory(machine.target)
            function = made.py_func if isinstance(made, Dispatcher) else made
            arguments = (*(_KINDS[kind] for _, kind in kernel.signature.params), types.intp, types.intp)
            flags = Flags()
            flags.no_compile = True
            flags.no_cpython_wrapper = True
            flags.no_cfunc_wrapper = True
            flags.error_model = "numpy"
            flags.nrt = False
            compiled = compile_extra(typing, context, function, arguments, types.void, flags, {}, library=library)
            inner = context.call_conv.get_function_type(types.void, arguments)
            _entry(entries, kernel.signature, compiled.fndesc.llvm_func_name, inner)
        library.finalize()
    module = library._final_module
    added = llvm.parse_assembly(str(entries))
    added.data_layout = module.data_layout
    added.triple = module.triple
    module.link_in(added)
    return module


@contextmanager
def _compiling_into(context: Any) -> Iterator[None]:
    """Functions that kernels call are compiled into ``context`` too, instead of into numba's JIT."""
    name = "_toplevel_target_context"
    before = getattr(cpu_target, name)
    vars(cpu_target)[name] = context
    try:
        yield
    finally:
        vars(cpu_target)[name] = before


def _entry(module: ir.Module, signature: Signature, symbol: str, inner: ir.FunctionType) -> None:
    pointer = ir.PointerType()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, _I64, _I64]), signature.name)
    callee = ir.Function(module, inner, symbol)
    builder = ir.IRBuilder(function.append_basic_block())
    block, worker, workers = function.args
    result, exception = (builder.alloca(pointer) for _ in range(2))
    arguments = []
    for i, (_, kind) in enumerate(signature.params):
        place = builder.gep(block, [ir.Constant(_I64, i)], source_etype=_I64)
        of = {"i64": _I64, "f32": ir.FloatType(), "f64": ir.DoubleType()}[kind]
        arguments.append(builder.load(place, typ=of, align=8))
    builder.call(callee, [result, exception, *arguments, worker, workers])
    builder.ret_void()


def emit(module: Any, machine: Machine, keep: Sequence[str]) -> bytes:
    """Optimises ``module`` with everything but ``keep`` made internal, and emits an object file."""
    support = SUPPORT.get(machine.arch)
    if support is not None:
        module.link_in(llvm.parse_assembly(support))
    kept = {*keep, *NAMES}
    for function in module.functions:
        if not function.is_declaration and function.name not in kept:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    target = machine.llvm_machine()
    module.triple = machine.triple
    module.data_layout = str(target.target_data)
    builder = llvm.create_pass_builder(target, _tuning())
    builder.getModulePassManager().run(module, builder)
    return target.emit_object(module)


def _tuning() -> Any:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    return options

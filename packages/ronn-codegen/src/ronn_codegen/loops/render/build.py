"""From a loop to an object file."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm

from ronn_codegen.loops.language import Loop
from ronn_codegen.loops.render.llvm import ENTRY, render
from ronn_codegen.native.machine import Machine


def object_code(loop: Loop, machine: Machine) -> bytes:
    """A relocatable object (ELF) with the entry point ``kernel``."""
    target = machine.llvm_machine()
    module = optimised(loop, machine, target)
    return target.emit_object(module)


def llvm_text(loop: Loop, machine: Machine) -> str:
    """The LLVM IR of a loop as it is rendered, before any pass of LLVM's."""
    # Kernels call nothing: copying loops must not become memcpy. llvmlite has no word for that attribute.
    return str(render(loop, machine.target)).replace(" nounwind\n", ' nounwind "no-builtins"\n', 1)


def optimised(loop: Loop, machine: Machine, target: Any) -> Any:
    """The LLVM module of a loop after the passes that the renderer's code needs."""
    module = llvm.parse_assembly(llvm_text(loop, machine))
    module.name = ENTRY
    module.triple = machine.triple
    module.data_layout = str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return module

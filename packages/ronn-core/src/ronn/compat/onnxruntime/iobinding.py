"""IOBinding: inputs and outputs bound to memory ahead of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.compat.onnxruntime.errors import while_running
from ronn.compat.onnxruntime.feeds import misfits
from ronn.compat.onnxruntime.options import stop_of
from ronn.compat.onnxruntime.values import OrtValue, at_address, check_device, dtype_of
from ronn.errors import InputError, RonnError
from ronn.ir.types import DType

if TYPE_CHECKING:
    from ronn.binding import Binding
    from ronn.compat.onnxruntime.options import RunOptions
    from ronn.compat.onnxruntime.session import Session


class IOBinding:
    """What a run takes and gives, by name. Arrays and addresses are used where they lie, at the time of the run.

    Kernels write to the memory that outputs are bound to, where they can; else results are copied there.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, np.ndarray | None] = {}
        self._results: dict[str, Any] = {}
        self._binding: Binding | None = None  # of what is bound now, once a run has made it

    def _bind_input(self, name: str, value: Any) -> None:
        if name not in self._session._types:
            raise RuntimeError(f"Failed to find NodeArg with name: {name} in the def list")
        self._inputs[name] = value
        self._binding = None

    def bind_cpu_input(self, name: str, arr_on_cpu: np.ndarray) -> None:
        """Binds an array (a copy of one that is not contiguous)."""
        if not isinstance(arr_on_cpu, np.ndarray):
            raise RuntimeError("Unable to create OrtValue from the given python object")
        self._bind_input(name, arr_on_cpu if arr_on_cpu.flags.c_contiguous else np.ascontiguousarray(arr_on_cpu))

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Binds the memory at an address. ``element_type``: a NumPy type or ONNX's number."""
        check_device(device_type)
        self._bind_input(name, at_address(int(buffer_ptr), dtype_of(element_type), [int(d) for d in shape]))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        self._bind_input(name, ortvalue._data)

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Binds an output to the memory at an address, or asks for it without saying where."""
        check_device(device_type)
        if buffer_ptr is None:
            self._bind_output(name, None)
            return
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        self._bind_output(name, at_address(int(buffer_ptr), dtype_of(element_type), [int(d) for d in shape]))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        self._bind_output(name, ortvalue.numpy())

    def _bind_output(self, name: str, target: np.ndarray | None) -> None:
        self._outputs[name] = target
        self._binding = None

    def synchronize_inputs(self) -> None:
        """The host's memory is always up to date."""

    def synchronize_outputs(self) -> None:
        """The host's memory is always up to date."""

    def get_outputs(self) -> list[OrtValue]:
        """Results of the last run, in the order in which the outputs were bound."""
        return [OrtValue(self._results[n]) for n in self._outputs if n in self._results]

    def get_outputs_as_ortvaluevector(self) -> list[OrtValue]:
        return self.get_outputs()

    def copy_outputs_to_cpu(self) -> list[Any]:
        """Results of the last run as arrays of their own."""
        found = [self._results[n] for n in self._outputs if n in self._results]
        return [r.copy() if isinstance(r, np.ndarray) else r for r in found]

    def clear_binding_inputs(self) -> None:
        self._inputs.clear()
        self._binding = None

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()
        self._results.clear()
        self._binding = None

    def _run(self, options: RunOptions | None) -> None:
        """Runs on what is bound. RuntimeError, as onnxruntime raises it, for whatever goes wrong."""
        if not self._outputs:
            raise RuntimeError("Error in execution: At least one output should be requested.")
        session = self._session
        for name in self._outputs:
            if name not in session._output_index:
                raise RuntimeError(f"Error in execution: Invalid output name: {name}")
        names = list(self._outputs)
        try:
            found = self._run_in_place(names, options)
            if found is None:
                found = session.run(names, self._inputs, options)
        except Exception as e:
            text = str(e)
            marked = text.startswith("[ONNXRuntimeError]")
            raise RuntimeError(f"Error in execution: {text.split(' : ', 3)[3] if marked else text}") from e
        for name, result in zip(names, found, strict=True):
            target = self._outputs[name]
            self._results[name] = result if target is None or result is target else self._fill(name, result)

    def _run_in_place(self, names: list[str], options: RunOptions | None) -> list[Any] | None:
        """The results, made in the memory that is bound; None where ``run`` has to do it, or to say what is wrong."""
        session = self._session
        if session._profiler is not None or any(type(v) is not np.ndarray for v in self._inputs.values()):
            return None
        stop = None if options is None else stop_of(options)
        try:
            if self._binding is None:
                targets = {n: t for n, t in self._outputs.items() if t is not None}
                self._binding = session._sess.bind(self._inputs, outputs=names, out=targets)
            return list(self._binding(stop=stop))
        except InputError:
            return None
        except RonnError as e:
            raise while_running(e) from e

    def _fill(self, name: str, result: Any) -> np.ndarray:
        target = self._outputs[name]
        assert target is not None
        actual, expected = DType.of(target.dtype), DType.of(result.dtype)
        if actual is not expected:
            raise RuntimeError(
                "Error in execution: Unexpected output data type. "
                f"Actual: (tensor({actual.onnx_name})) , expected: (tensor({expected.onnx_name}))"
            )
        if target.shape != result.shape:
            if target.ndim == result.ndim:
                text = f"Got invalid dimensions for output: {name} {misfits(target.shape, result.shape)}"
            else:
                text = f"Invalid rank for output: {name} Got: {target.ndim} Expected: {result.ndim}"
            raise RuntimeError(f"Error in execution: {text}")
        target[...] = result
        return target

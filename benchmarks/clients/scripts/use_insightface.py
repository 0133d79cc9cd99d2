"""insightface's own session class: a subclass that can be pickled, and that asks for providers and their options."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
from insightface.model_zoo.model_zoo import PickableInferenceSession
from onnx import TensorProto, helper
from show import show

node = helper.make_node("Conv", ["x", "w"], ["y"])
w = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], np.linspace(-1, 1, 108, dtype=np.float32))
graph = helper.make_graph(
    [node], "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, "h", "w"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4, None, None])],
    [w],
)  # fmt: skip
model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder, "model.onnx"))
    Path(path).write_bytes(model.SerializeToString())
    session = PickableInferenceSession(path, providers=["CPUExecutionProvider"])
    again = pickle.loads(pickle.dumps(session))
    x = np.linspace(0, 1, 3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)
    show(
        providers=session._providers,
        options=session._provider_options,
        shape=again.get_inputs()[0].shape,
        same=bool(np.array_equal(session.run(None, {"x": x})[0], again.run(None, {"x": x})[0])),
        outputs=again.run(None, {"x": x})[0].ravel(),
    )

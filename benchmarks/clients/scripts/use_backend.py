"""ONNX's own backend tests on ``onnxruntime.backend``: the names of those that pass."""

import io
import sys
import unittest
import warnings

import onnx.backend.test
import onnxruntime.backend as backend
from show import show


class Result(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed.append(test.id().rpartition(".")[2])


warnings.simplefilter("ignore")
sys.stderr = io.StringIO()  # onnxruntime writes every failure there
tests = onnx.backend.test.BackendTest(backend.backend.OnnxRuntimeBackend, __name__)
tests.exclude("_cuda$").exclude("^test_bernoulli").include("_cpu$")
tests.exclude("^test_(vgg19|resnet50|inception|densenet|shufflenet|squeezenet|zfnet|bvlc_alexnet|light_)")
result = Result()
tests.test_suite.run(result)
show(passed=sorted(result.passed), run=result.testsRun)

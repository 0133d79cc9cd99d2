"""The conformance kit, on this provider: ``pytest packages/ronn-provider-npu/tests/kit_conformance.py -k test_check``.

It is no part of the tests that a change runs: every case of every operator is compiled for the device, which takes
PoCL several minutes.
"""

from ronn_testkit import ProviderSuite


class TestConformance(ProviderSuite):
    provider = "npu"
    examples = 1
    skip = {
        "fork": "OpenCL does not work in children of a process that uses it; test_errors.py holds what they are told"
    }

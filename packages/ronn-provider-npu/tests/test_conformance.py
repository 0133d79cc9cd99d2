"""The conformance kit, on this provider."""

from ronn_testkit import ProviderSuite


class TestConformance(ProviderSuite):
    provider = "npu"

"""Provider packages among the examples have tests for where they are installed: those of testkit and docs do that."""

from importlib.util import find_spec

PACKAGES = {"provider-template": "ronn_provider_toy", "custom-hardware": "ronn_provider_acme"}
collect_ignore = [folder for folder, name in PACKAGES.items() if find_spec(name) is None]

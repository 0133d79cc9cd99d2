"""The CPU execution provider of RONN. Importing this imports no kernel: see ``ronn_provider_cpu.provider``."""

from ronn_provider_cpu._version import __version__

__all__ = ["__version__"]

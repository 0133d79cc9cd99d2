"""One- and two-bit weights for RONN. Importing this imports no kernel: see ``ronn_provider_bitnet.provider``."""

from ronn_provider_bitnet._version import __version__

__all__ = ["__version__"]

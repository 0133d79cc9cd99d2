"""Lowerings by family: from a node to the kernel calls that compute it. A new file here is found by itself."""

"""Kernel modules: each is compiled as a whole, and kept in the cache of machine code."""

"""Kernels written by hand for C-like devices. A module here stands for the one of its name in
``ronn_codegen.templates``: a lowering names both by the latter's name."""

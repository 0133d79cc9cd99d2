"""Printers of loops. ``llvm``: vector code in LLVM IR, for every processor that the vector layer knows."""

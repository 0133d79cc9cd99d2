"""Lowerings for C-like devices where they differ from ``ronn_codegen.lower``. A new file is found by itself."""

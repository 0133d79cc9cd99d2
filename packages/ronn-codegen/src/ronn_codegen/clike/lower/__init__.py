"""Lowerings for C-like devices, where they differ from those of ``ronn_codegen.lower``. A new file is found by itself."""

"""Printers of loops as C-like text: values, statements, and how the index space is shared among work-items."""

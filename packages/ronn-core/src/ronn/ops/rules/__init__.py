"""Shape rules by family; importing this package registers them."""

"""Sessions under load: what must hold however long it goes on."""

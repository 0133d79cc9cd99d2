"""Many requests at once: which models may have them joined (``rows``), how that is done (``join``), the ``Batcher``."""

"""The providers that come with the core: ``reference`` (the oracle, runs everything) and ``null`` (never computes)."""

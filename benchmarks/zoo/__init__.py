"""The model zoo: what it holds (manifest), how it gets here (fetch), what it is fed (feeds)."""

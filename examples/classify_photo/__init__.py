"""Says what is in a photo: the smallest program with a real model."""

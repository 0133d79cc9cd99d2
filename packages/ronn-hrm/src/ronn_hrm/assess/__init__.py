"""Assessment: features of a request that tell how the cheap model will do on it."""

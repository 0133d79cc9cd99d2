"""Tools on model files: converting, exporting what passes made, telling what versions a model needs."""

"""Tells what files are from their bytes, with the model of magika."""

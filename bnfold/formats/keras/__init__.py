"""Keras models as data."""

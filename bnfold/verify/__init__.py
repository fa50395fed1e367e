"""Equivalence of two models: checks with derived bounds."""

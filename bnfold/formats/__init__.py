"""Formats: open, lower to the core, apply a plan, save."""

"""Latency: paired measurement in fresh processes, with intervals."""

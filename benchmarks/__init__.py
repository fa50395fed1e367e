"""Benchmarks of bnfold: `python -m benchmarks` and `python -m benchmarks.latency_control`."""

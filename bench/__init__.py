"""Benchmarks: each stage against the way it was done before, in one run."""

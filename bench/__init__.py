"""Benchmarks: each stage compared with the old scripts, in the same run."""

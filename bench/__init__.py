"""Measurements anyone can repeat; docs/benchmarks.md tells how, and what they showed."""

"""Servers of others that benchmarks and tests start and end."""

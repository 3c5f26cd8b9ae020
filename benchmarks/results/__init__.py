"""The results pages under docs/results: `python -m benchmarks.results` computes what is missing of them.

`cells` says what a page consists of, `training` makes the adapters that a cell needs, `page` writes the tables.
"""

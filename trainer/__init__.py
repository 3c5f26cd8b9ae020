"""Turns a job into a published adapter: data, objective, loop, checkpoints, publish."""

"""Heads: what reads the encoder's output at chosen positions. One file per type."""

"""Data sets: which there are (`catalogue`), where their files lie (`locate`, `pull`) and what is in them (`readers`).

Nothing here imports torch. How it is used, and the form of a catalogue: docs/data.md.
"""

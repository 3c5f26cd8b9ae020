"""What exists, where its bytes are, what is to be done: the SQL registry and its content-addressed blobs.

SQL is the only truth; blobs are immutable and written before the row that names them. Imports the torch-free parts of
`madx` alone, so importing this package never imports torch. Start at `registry.open_registry`.
"""

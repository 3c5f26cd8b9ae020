"""One module per file format; every broken line is refused with its file and line number."""

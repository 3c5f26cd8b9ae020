"""AdapterHub's configurations and tensor names <-> ours: values and maps of tensors, no files. Torch-free.

`config` and `heads` translate what the two JSON files of a folder say, `spelling` brings older tensor names to today's,
`names` maps those to ours. docs/adapterhub.md says what maps to what, and what is refused.
"""

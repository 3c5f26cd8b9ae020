"""The network: a frozen multilingual encoder on packed tokens, and the adapters that enter it.

Importing this package imports no torch; `config`, `plan`, `shapes`, `manifest` and `tasks` stay torch-free.
"""

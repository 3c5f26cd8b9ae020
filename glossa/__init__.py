"""What a user types: the `glossa` command (`main`) and the Python client.

Importing this package imports neither torch nor the server: `from glossa import Client` is all that a caller needs.
"""

from .client import Answer, Client, ClientError

__all__ = ["Answer", "Client", "ClientError"]

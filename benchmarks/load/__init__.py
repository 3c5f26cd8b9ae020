"""The load generator: a process of its own that asks a server over HTTP and says what came of every request."""

"""Speed, side by side with peers: one module per subject, run as `python -m benchmarks.NAME --json FILE`."""

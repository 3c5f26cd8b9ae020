"""The schema's history, run by `registry.database.migrate`. Every change of `models` comes with a revision here."""

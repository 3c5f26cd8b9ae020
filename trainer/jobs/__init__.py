"""From a specification to a published adapter: one file per kind of job."""

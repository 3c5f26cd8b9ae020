"""Workers that run another project's own code, each in that project's environment."""

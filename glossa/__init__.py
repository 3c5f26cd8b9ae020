"""What a user types: the `glossa` command."""

"""One module per subcommand of `glossa`; what is heavy is imported inside the functions that need it."""

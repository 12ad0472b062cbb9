"""The `tlx` command: one file a subcommand, each parsing its options and calling the library."""

"""The `hrm` command line."""

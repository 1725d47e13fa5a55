"""The commands, a file each: HELP, the arguments, the run."""

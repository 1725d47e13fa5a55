"""A spec's files to a program, a value and a printed module; `pipeline` has all of it on one screen."""

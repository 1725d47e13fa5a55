"""From a spec's files to a program, the engine's value and a printed module; `pipeline` is all of it on one screen."""

"""Structure-aware, coverage-guided fuzzing: `python -m tests.fuzz --inputs N [--target T] [--seed S] [--jobs J]`.

`coverage` writes marks into pvspec as it is imported; `hostile` says what an attacker writes into a field, and the
builders of each format pass their fields through it; `derive` makes texts of the grammar; `mutate` makes inputs of
inputs; `loop` keeps those that reach something new; `cell` tries each in a forked process, with limits. `targets` has
what is attacked, and what must hold; `reach` says how much of each reader that is.
"""

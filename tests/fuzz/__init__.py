"""Coverage-guided fuzzing: `python -m tests.fuzz --inputs N [--target T] [--seed S]`.

`coverage` writes marks into pvspec as it is imported, `mutate` makes inputs of inputs, `loop` keeps those that reach
something new; `texts`, `images`, `readers` and `patches` say what is attacked and what must hold.
"""

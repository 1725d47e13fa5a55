"""Does the suite notice? `python -m tests.mutation [--jobs N] [--only REGEX]`.

`rules` breaks each rule of the checker, `primitives` everything that a site can become and every guard; `suite` runs
the tests that should notice it, in a copy of the tree.
"""

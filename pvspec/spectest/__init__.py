"""Runs the `test` blocks of a spec against the module that it compiles to.

`binding` is what a case binds, `site` the record and memory it describes,
`expected` what it expects, put together without the runtime; `run` compares.
"""

from pvspec.spectest.run import Result, run_tests

__all__ = ["Result", "run_tests"]

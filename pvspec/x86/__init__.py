"""Assembling and reading x86 code, one statement at a time, with keystone, iced-x86 and capstone.

`assembler` is the entry point: a statement is parsed (`intel`, `intel_parser`),
checked against what assemblers get wrong (`legality`), encoded (`encode`, `ask`,
`encodings`), read back (`readback`, `decode`) and placed (`layout`). `decode`
and `effects` say what bytes mean.
"""

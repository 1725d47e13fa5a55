"""What patches: a spec as a value, a kernel's facts, and how its sites are decided and written.

Standard library only: a printed module carries these files verbatim, in this order. `value`, `errors`, `site`,
`guards` and `spec` are what a spec says; `facts` what one kernel is bound to, `decide` what it decides by that;
`patch` patches one site, `sites` finds out what the sites of all other tables tell, `families` decides them, `apply`
patches whole tables (`breakpoint`: while other processors run them).
"""

PARTS = (
    "value",
    "errors",
    "site",
    "guards",
    "command_line",
    "spec",
    "instructions",
    "records",
    "relocation",
    "text",
    "facts",
    "policy",
    "decide",
    "patch",
    "slots",
    "sites",
    "families",
    "breakpoint",
    "apply",
)

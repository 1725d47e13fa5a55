"""What a command line comes to: each line that was met in the field, and its kind. tests/oracle asks real kernels."""

from __future__ import annotations

import pytest

from pvspec.engine.command_line import (
    EARLY_PARAM,
    FIND_OPTION,
    FIND_OPTION_BOOL,
    MAX_COMMAND_LINE,
    SETUP,
    CommandLine,
    Parameter,
    ReadLine,
    Sets,
    Variable,
    read_line,
)


def names(variable: str, *values: str) -> dict[str, Sets]:
    return {value: ((variable, value),) for value in values}


LINUX = CommandLine(
    {
        "mitigations": Variable("auto", ("off", "auto")),
        "pti": Variable("auto", ("off", "on", "auto")),
        "retbleed": Variable("auto", ("off", "auto", "unret", "ibpb")),
        "retbleed_nosmt": Variable("no", ("no", "yes")),
        "smt": Variable("on", ("on", "off", "forced_off")),
        "smp": Variable("on", ("on", "off")),
        "max_cpus": Variable(8192),
        "nr_cpus": Variable(8192),
        "acpi": Variable("on", ("on", "off")),
        "replace_smp": Variable("yes", ("yes", "no")),
        "spectre_v2": Variable("auto", ("off", "auto", "retpoline")),
        "pcid": Variable("yes", ("yes", "no")),
    },
    (
        Parameter(EARLY_PARAM, "mitigations", "values", "mitigations", names("mitigations", "off", "auto")),
        Parameter(EARLY_PARAM, "pti", "values", "pti", names("pti", "off", "on", "auto")),
        Parameter(EARLY_PARAM, "nopti", "flag", sets=(("pti", "off"),)),
        Parameter(
            *(EARLY_PARAM, "retbleed", "list", "retbleed"),
            {**names("retbleed", "off", "auto", "unret", "ibpb"), "nosmt": (("retbleed_nosmt", "yes"),)},
        ),
        Parameter(EARLY_PARAM, "nosmt", "values", "smt", {"force": (("smt", "forced_off"),)}, (("smt", "off"),)),
        Parameter(EARLY_PARAM, "nosmp", "flag", sets=(("smp", "off"),)),
        Parameter(EARLY_PARAM, "maxcpus", "number", "max_cpus"),
        Parameter(EARLY_PARAM, "nr_cpus", "least", "nr_cpus"),
        Parameter(EARLY_PARAM, "acpi", "values", "acpi", {**names("acpi", "off"), "noirq": ()}),
        Parameter(EARLY_PARAM, "nopcid", "values", "pcid", {"": (("pcid", "no"),)}),
        Parameter(SETUP, "noreplace-smp", "flag", sets=(("replace_smp", "no"),)),
        Parameter(FIND_OPTION, "spectre_v2", "values", "spectre_v2", names("spectre_v2", "off", "auto", "retpoline")),
        Parameter(FIND_OPTION_BOOL, "nospectre_v2", "flag", sets=(("spectre_v2", "off"),)),
        Parameter(FIND_OPTION, "clearcpuid", "features"),
    ),
    frozenset(["quiet", "log_buf_len"]),
)


def changed(line: str) -> dict[str, str | int]:
    found = read_line(line, LINUX).values
    return {name: value for name, value in found.items() if value != LINUX.variables[name].default}


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        # one variable, the last writer
        ("pti=on nopti", {"pti": "off"}),
        ("nopti pti=on", {"pti": "on"}),
        ("mitigations=off mitigations=auto", {}),
        # a value that the kernel does not know changes nothing
        ("mitigations=off mitigations=none", {"mitigations": "off"}),
        ("mitigations=off mitigations", {"mitigations": "off"}),
        ("mitigations=off mitigations=", {"mitigations": "off"}),
        ("mitigations=offf", {}),
        ("mitigations=OFF", {}),
        # lists, in any order
        ("retbleed=nosmt,unret", {"retbleed": "unret", "retbleed_nosmt": "yes"}),
        ("retbleed=unret,nosmt,", {"retbleed": "unret", "retbleed_nosmt": "yes"}),
        ("retbleed=off,ibpb", {"retbleed": "ibpb"}),
        # quotes fall, around all or around the value
        ('mitigations="off"', {"mitigations": "off"}),
        ('"mitigations=off"', {"mitigations": "off"}),
        ('foo="mitigations=off nosmp"', {}),
        ('foo="a nosmp b"', {}),
        ('"nosmp"', {"smp": "off"}),
        # what is behind `--` is for init
        ("quiet -- nosmp", {}),
        ("quiet --nosmp nosmp", {"smp": "off"}),
        ("--=x nosmp", {"smp": "off"}),
        ("-- spectre_v2=off", {"spectre_v2": "off"}),
        # dashes and underscores; a flag's value
        ("no-pti", {}),
        ("noreplace_smp", {"replace_smp": "no"}),
        ("noreplace-smpfoo", {"replace_smp": "no"}),
        ("noreplace-sm", {}),
        ("nosmp=0", {"smp": "off"}),
        ("nosmp1", {}),
        ("nosmt", {"smt": "off"}),
        ("nosmt=force", {"smt": "forced_off"}),
        ("nosmt=0", {"smt": "off"}),
        ("nopcid", {"pcid": "no"}),
        ("nopcid=", {}),
        ("nopcid=1", {}),
        # numbers
        ("maxcpus=0x1", {"max_cpus": 1}),
        ("maxcpus=010", {"max_cpus": 8}),
        ("maxcpus=1=2", {"max_cpus": 1}),
        ("maxcpus=0xffffffff", {"max_cpus": -1}),
        ("maxcpus=1,2", {"max_cpus": 1}),
        ("maxcpus=one", {"max_cpus": 0}),
        ("maxcpus=1 maxcpus", {"max_cpus": 1}),
        ("maxcpus=1 maxcpus=", {"max_cpus": 1}),
        ("maxcpus=-1", {"max_cpus": -1}),
        ("nr_cpus=2 nr_cpus=4", {"nr_cpus": 2}),
        ("nr_cpus=4 nr_cpus=0 nr_cpus=-3 nr_cpus=0x3", {"nr_cpus": 3}),
        # a value that the kernel knows, and that changes no text
        ("acpi=off acpi=noirq", {"acpi": "off"}),
        # words that are looked for: exactly, the last one, with their quotes
        ("spectre_v2=off spectre_v2=retpoline", {"spectre_v2": "retpoline"}),
        ("spectre_v2=off spectre_v2=none", {}),
        ("quiet\tspectre_v2=off\0", {"spectre_v2": "off"}),
        ("spectre-v2=off", {}),
        ('spectre_v2="off"', {}),
        ("nospectre_v2", {"spectre_v2": "off"}),
        ("nospectre_v2=1", {}),
        ("nospectre-v2", {}),
        ("quiet\tnosmp\nnopti", {"smp": "off", "pti": "off"}),
        ("x" * (MAX_COMMAND_LINE - 6) + " nosmp", {"smp": "off"}),
        ("x" * (MAX_COMMAND_LINE - 5) + " nosmp", {}),
    ],
)
def test_the_variables(line: str, variables: dict[str, str | int]) -> None:
    assert changed(line) == variables


def test_features_that_are_listed() -> None:
    assert read_line("clearcpuid=1 clearcpuid=smap,7", LINUX).listed == {"clearcpuid": "smap,7"}


def test_what_is_told() -> None:
    line = "pti=none acpi=noirq LOG-BUF-LEN=1 log-buf-len=1 ro quiet foo=1 foo=2 pti=none maxcpus -- bar"
    found = read_line(line, LINUX)
    assert found == ReadLine(found.values, {}, ("pti=none", "maxcpus"), ("LOG-BUF-LEN", "ro", "foo"))

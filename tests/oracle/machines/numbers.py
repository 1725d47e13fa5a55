"""The numbers of features that a CPU is given or loses: by the kernel's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvspec.engine.spec import Spec

from .subject import Subject

_LAST = -1  # the last word of features, whichever that is
PLACES = {
    "RRSBA_CTRL": (11, 11),
    "AMD_STIBP_ALWAYS_ON": (13, 17),
    "BTC_NO": (13, 29),
    "AMD_IBPB_RET": (13, 30),
    "SRBDS_CTRL": (18, 9),
    "RTM_ALWAYS_ABORT": (18, 11),
    "TSX_FORCE_ABORT": (18, 13),
    "HYBRID_CPU": (18, 15),
    "VERW_CLEAR": (20, 5),
    "NULL_SEL_CLR_BASE": (20, 6),
    "AUTOIBRS": (20, 8),
    "SBPB": (20, 27),
    "IBPB_BRTYPE": (20, 28),
    "SRSO_NO": (20, 29),
    "SRSO_USER_KERNEL_NO": (20, 30),
    "TSA_SQ_NO": (_LAST, 11),
    "TSA_L1_NO": (_LAST, 12),
}
"""Word and bit of features that a spec need not know: they are alike in all kernels that have them."""


def numbers(subject: Subject, spec: Spec, names: Iterable[str]) -> Iterator[int]:
    """The numbers of those that this kernel has."""
    shown = {name.upper(): number for number, name in enumerate(subject.features) if name}
    shown |= {f"BUG_{name.upper()}": len(subject.features) + at for at, name in enumerate(subject.bugs) if name}
    for name in names:
        number = spec.machine.features.get(name, shown.get(name, -1))
        if number < 0 and name in PLACES:
            word, bit = PLACES[name]
            number = 32 * (word % (len(subject.features) // 32)) + bit
        if 0 <= number < 32 * subject.words:
            yield number

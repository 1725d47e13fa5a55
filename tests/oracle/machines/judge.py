"""What a kernel decided, against what is predicted: the features that can change text, then the text itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pvspec.prediction import Prediction, PredictionError
from pvspec.prediction.difference import masks
from pvspec.prediction.passes import run_passes

from ..compare import unexplained
from .bench import Bench
from .described import KNOWN, Known, described
from .observe import Observation
from .trial import Trial

ALIKE, OPEN, ASKED, WRONG = "alike", "open", "asked", "wrong"


class Verdict(NamedTuple):
    """What came of a prediction.

    `outcome`: "alike"; "wrong"; "open": wrong, but only where the prediction says that it does not know; "asked":
    there is none, since a fact is missing. `features` that can change text and were decided otherwise: "+NAME", the
    kernel has it though it is not predicted; "-NAME". `wrong`: bytes of the text that no form of a site explains.
    `said`: why there is no prediction.
    """

    outcome: str
    features: tuple[str, ...] = ()
    wrong: int = 0
    said: str = ""


def fails(known: Known, verdict: Verdict) -> bool:
    """Whether a prediction is no success: with all facts it must be the kernel's text, with less it may say so."""
    return verdict.outcome == WRONG or (known == "facts" and verdict.outcome != ALIKE)


def judged(bench: Bench, trial: Trial, seen: Observation) -> Mapping[Known, Verdict]:
    """What each prediction of a machine comes to, by how much is known."""
    return {known: judge(bench, trial, seen, known) for known in KNOWN}


def judge(bench: Bench, trial: Trial, seen: Observation, known: Known) -> Verdict:
    """What the prediction comes to of a machine of which so much is known."""
    try:
        bound = bench.bind(described(bench.subject, bench.whole, trial, seen, known))
        differing = bench.differing(bench.decided(seen.after), bound.kernel.features & bench.telling)
        if not differing and bench.predicted(bound) == bench.digest(seen.text):
            return Verdict(ALIKE)
        return _explained(bench, run_passes(bound), seen, differing)
    except PredictionError as error:
        return Verdict(ASKED, said=str(error))


def _explained(bench: Bench, prediction: Prediction, seen: Observation, differing: tuple[str, ...]) -> Verdict:
    """A site may have one of its other forms; features may differ only where the prediction says what is open."""
    real, whole = bench.masked(seen.text), bytearray(prediction.text)
    for page, mask in masks(bench.masked(prediction.text), real):
        for at in (page + at for at, differs in enumerate(mask) if differs):
            whole[at] = real[at]
    wrong = len(unexplained(prediction, bytes(whole)))
    if getattr(prediction, "open", ()):
        return Verdict(WRONG if wrong else OPEN, differing, wrong)
    return Verdict(WRONG if wrong or differing else ALIKE, differing, wrong)

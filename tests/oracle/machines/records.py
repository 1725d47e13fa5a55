"""What came of machines, kept: a file a kernel release, a line a seed, some characters a machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pvspec.support.output import replacing

from ..matrix import PREDICTOR, ROOT, predictor
from .chance import KINDS
from .described import KNOWN, Known
from .judge import ALIKE, ASKED, OPEN, WRONG, Verdict

FOLDER = Path(__file__).parent / "records"
DIED = "died"
_LETTERS = {ALIKE: "a", OPEN: "o", ASKED: "q", WRONG: "w", DIED: "-"}
_OUTCOMES = {letter: outcome for outcome, letter in _LETTERS.items()}


@dataclass(frozen=True)
class Record:
    """A seed's machines on one kernel: each as the first letter of its kind and one of each outcome (`KNOWN`).

    `by` is a digest of what made and predicted them: of other code's machines nothing is known.
    """

    seed: str
    by: str
    machines: tuple[str, ...] = ()

    def counts(self) -> Iterator[tuple[str, Known, str]]:
        """Kind, how much was known, and outcome, of each prediction."""
        kinds = {kind[0]: kind for kind in KINDS}
        for machine in self.machines:
            for known, letter in zip(KNOWN, machine[1:], strict=True):
                yield kinds[machine[0]], known, _OUTCOMES[letter]


def letters(kind: str, verdicts: Mapping[Known, Verdict] | None) -> str:
    """A machine as it is kept; None: it died."""
    outcomes = [DIED if verdicts is None else verdicts[known].outcome for known in KNOWN]
    return kind[0] + "".join(_LETTERS[outcome] for outcome in outcomes)


def made_by() -> str:
    """A digest of all that machines and predictions follow from."""
    return predictor([*PREDICTOR, *(str(path.relative_to(ROOT)) for path in FOLDER.parent.glob("*.py"))])


def read(release: str, folder: Path = FOLDER) -> dict[str, Record]:
    """A release's records by seed; none if it was never tried."""
    path = folder / f"{release}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = [
        Record(**{**json.loads(line), "machines": tuple(json.loads(line)["machines"].split())}) for line in lines
    ]
    return {record.seed: record for record in records}


def write(release: str, record: Record, folder: Path = FOLDER) -> None:
    """Keep a seed's record in place of an older one of it."""
    records = {**read(release, folder), record.seed: record}
    lines = (json.dumps({**asdict(each), "machines": " ".join(each.machines)}) for each in records.values())
    folder.mkdir(exist_ok=True)
    with replacing(folder / f"{release}.jsonl") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def table(folder: Path = FOLDER) -> Sequence[str]:
    """Lines: of each release and kind, how many machines were decided alike, by how much was known."""
    rows = [["kernel", "kind", "machines", *KNOWN]]
    for path in sorted(folder.glob("*.jsonl")):
        counts = Counter(count for record in read(path.stem, folder).values() for count in record.counts())
        rows += ([path.stem, kind, *_cells(counts, kind)] for kind in KINDS)
    return [f"| {' | '.join(row)} |" for row in _ruled(rows)]


def _cells(counts: Mapping[tuple[str, Known, str], int], kind: str) -> Iterator[str]:
    ran = {known: {o: counts[kind, known, o] for o in _LETTERS if counts.get((kind, known, o))} for known in KNOWN}
    died = ran[KNOWN[0]].pop(DIED, 0)
    yield str(sum(ran[KNOWN[0]].values())) + (f" ({died} more died)" if died else "")
    for known in KNOWN:
        outcomes = {outcome: number for outcome, number in ran[known].items() if outcome != DIED}
        yield ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())


def _ruled(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    head, *rest = rows
    yield from (head, ["---"] * len(head), *rest)

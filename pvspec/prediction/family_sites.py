"""The sites of a family, as a prediction goes over them: it has no running kernel to ask."""

from __future__ import annotations

from pvspec.engine.errors import PatchError, StateError
from pvspec.engine.families import FamilySites, Outcome
from pvspec.engine.patch import Patcher
from pvspec.engine.sites import FamilySite, State
from pvspec.engine.spec import ELSEWHERE, Family
from pvspec.engine.text import Text
from pvspec.prediction.forms import open_reads


class PassedOver(FamilySites):
    """The sites of a table that this kernel does not go through: none outside the text can be wrong."""

    def __init__(self, kernel: Patcher, family: Family, text: Text, state: State) -> None:
        super().__init__(kernel, family, text, state)
        self.named = False

    def site(self, record: FamilySite) -> FamilySite | None:
        """As `FamilySites.site`; None outside the text."""
        try:
            site = super().site(record)
            if site is not None:
                self.text.check(site["site"], site.length, {})
        except PatchError:
            return None
        return site


class LenientSites(FamilySites):
    """The sites of a family; one that reads memory of which nothing is known stays as it is, with all its forms."""

    def outcome(self, site: FamilySite, record: int = 0) -> Outcome:
        """As `FamilySites.outcome`."""
        try:
            return super().outcome(site, record)
        except StateError:
            site.unreadable = open_reads(self.family) | {ELSEWHERE}
            before = self.text.up_to(site["site"], site.length)
            return Outcome(record, site["site"], site.length, None, None, before, site)

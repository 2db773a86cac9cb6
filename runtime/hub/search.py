"""Search over all people of the hub: exact for few samples, with pgvector's HNSW index for many.

The index finds candidates by halfvec; their cosines are then computed from the stored float32, so a cosine is always
exact. What the index can lose is a candidate, so an answer that recognizes nobody is checked by comparing all samples.
`make bench-hub` measures what remains.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..gallery.match import Match
from .boards import check_id
from .connection import hub_errors
from .people import IDENTITY, SEALED
from .search_index import checked_identity, has_index, vector_version

if TYPE_CHECKING:
    from .connection import Hub

Method = Literal["exact", "index"]
# The exact search loses nobody, and is fast up to here: by `make bench-hub`, 100,000 samples take a tenth of a second.
EXACT_SAMPLES = 50_000
CANDIDATES, MOST_CANDIDATES = 50, 800  # samples whose exact cosine is computed; more if they are of few people
BREADTH = (
    120  # hnsw.ef_search, 1 to 1,000: candidates that the index keeps while it walks. More find more, and cost more
)
_GO_ON = ", set_config('hnsw.iterative_scan', 'strict_order', true)"
ITERATIVE = (0, 8)  # the first pgvector that goes on until enough rows pass a filter (hnsw.iterative_scan)
# Who is known at a site now. A person whose stay has ended is found without this site.
_VALID = "coalesce(valid_from <= now(), true) AND coalesce(now() < valid_until, true)"


@dataclass(frozen=True)
class HubMatch(Match):
    """``sites`` where the person is known now."""

    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class HubMatches:
    """The people who look most like one face, most similar first.

    method      how they were found. exact: nobody is missing. index: from candidates of the HNSW index
    lacks_index whether the search was exact only because there is no index, or none that can filter by site
    """

    matches: tuple[HubMatch, ...]
    method: Method
    lacks_index: bool = False


class UnsearchableError(InputError):
    """The hub's embeddings are encrypted, or of another model than those that are searched."""


@dataclass(frozen=True)
class HubSearch:
    """Searches ``hub`` for faces whose embeddings have ``identity``, among the people who are known now at one of
    ``sites``; among all without sites. ``open_search`` makes it."""

    hub: Hub
    identity: str
    sites: tuple[str, ...]

    def find(
        self,
        embedding: NDArray[np.float32],
        *,
        people: int = 5,
        method: Method | None = None,
        certain: float = -1.0,
    ) -> HubMatches:
        """The ``people`` (1 or more) who look most like ``embedding`` (D float32).

        ``method``: None is exact up to EXACT_SAMPLES samples, or without an index. With "index", the search is still
        exact where the index cannot give enough people, or if its best cosine is below ``certain``: an index that
        misses somebody finds a stranger instead. With the match threshold, nobody who is known is called unknown
        because of the index. The result says what was done. Raises WorkError if the hub fails.
        """
        hub, limit = self.hub, _Limit(self.identity, people, self.sites)
        probe, size = _text(embedding), len(embedding)
        with hub_errors():
            with hub.transaction():
                many = method == "index" or (method is None and _count(hub, self.sites) > EXACT_SAMPLES)
                usable = many and has_index(hub, self.identity, size) and (
                    not self.sites or vector_version(hub) >= ITERATIVE
                )  # fmt: skip
                found = _search_index(hub, probe, size, limit) if usable else None
            if found and found[0].cosine >= certain:
                return HubMatches(found, "index")
            return HubMatches(_search_exactly(hub, probe, limit), "exact", many and not usable)


def open_search(hub: Hub, identity: str, sites: Sequence[str] = ()) -> HubSearch:
    """Searches for embeddings with ``identity`` at ``sites``; at all without sites. Raises UnsearchableError as
    ``check_searchable``, and InputError if there is no such site."""
    with hub_errors():
        check_searchable(hub, identity)
        for site in sites:
            check_id(site, "site")
            if hub.execute("SELECT 1 FROM rkface.site WHERE id = %s", [site]).fetchone() is None:
                raise InputError(f"the hub has no site {site!r}: `rkface hub boards` shows those that it has")
    return HubSearch(hub, identity, tuple(sites))


def check_searchable(hub: Hub, identity: str) -> None:
    """Raise UnsearchableError unless the hub's embeddings are of the model with ``identity`` and can be read. An empty
    hub has none yet."""
    found = dict(hub.execute("SELECT name, value FROM rkface.setting WHERE name IN (%s, %s)", [IDENTITY, SEALED]))
    if SEALED in found:
        raise UnsearchableError(
            "the embeddings of this hub are encrypted, so it cannot search them: search at a board (POST "
            "/v1/identify), which knows the people of its site"
        )
    if found.get(IDENTITY, identity) != identity:
        raise UnsearchableError(
            f"the hub has embeddings of another model or alignment (identity {found[IDENTITY][:8]}, not "
            f"{identity[:8]}): use the bundle that its boards have"
        )


@dataclass(frozen=True)
class _Limit:
    """Which samples are searched, and how many people are wanted."""

    identity: str
    people: int
    sites: tuple[str, ...]


# The people of ``best`` (person, cosine). Embeddings of zeros have no cosine, and belong to nobody.
_DESCRIBED = f"""
    SELECT person.id, person.name, best.cosine, array(
        SELECT site FROM rkface.stay WHERE stay.person = person.id AND {_VALID} ORDER BY site)
    FROM best JOIN rkface.person ON person.id = best.person WHERE best.cosine IS NOT NULL
    ORDER BY best.cosine DESC, person.id
"""


def _search_exactly(hub: Hub, probe: str, limit: _Limit) -> tuple[HubMatch, ...]:
    statement = f"""
        WITH best AS (
            SELECT person, max(nullif(1 - (embedding <=> %(probe)s::vector), 'NaN')) AS cosine FROM rkface.sample
            WHERE identity = %(identity)s{_at(limit.sites)}
            GROUP BY person ORDER BY cosine DESC NULLS LAST, person LIMIT %(people)s
        ) {_DESCRIBED}"""
    return _read_matches(hub, statement, {"probe": probe, **asdict(limit)})


def _search_index(hub: Hub, probe: str, dimensions: int, limit: _Limit) -> tuple[HubMatch, ...] | None:
    """None if the index does not give enough people. Changes settings of the transaction."""
    # The index is partial, and on an expression: PostgreSQL uses it only for the same text, so no parameters here.
    # The probe comes twice: one parameter has one type, and as halfvec it is rounded.
    statement = f"""
        WITH near AS MATERIALIZED (
            SELECT person, embedding FROM rkface.sample
            WHERE identity = '{checked_identity(limit.identity)}'{_at(limit.sites)}
            ORDER BY (embedding::halfvec({dimensions})) <=> %(probe)s::halfvec({dimensions}) LIMIT %(candidates)s
        ), best AS (
            SELECT person, max(1 - (embedding <=> %(same)s::vector)) AS cosine FROM near
            GROUP BY person ORDER BY cosine DESC, person LIMIT %(people)s
        ) {_DESCRIBED}"""
    candidates = CANDIDATES
    while candidates <= MOST_CANDIDATES:
        # Without sorting, the index is the only way to this order: an estimate of the planner cannot choose another.
        hub.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('enable_sort', 'off', true), "
            f"set_config('enable_seqscan', 'off', true){_GO_ON if limit.sites else ''}".encode(),
            [str(max(BREADTH, candidates))],
        )
        values = {"probe": probe, "same": probe, "candidates": candidates, **asdict(limit)}
        found = _read_matches(hub, statement, values)
        if len(found) >= limit.people:
            return found
        candidates *= 4  # few people have these samples, or few samples pass the filter
    return None


def _read_matches(hub: Hub, statement: str, values: dict[str, Any]) -> tuple[HubMatch, ...]:
    rows = hub.execute(statement.encode(), values | {"sites": list(values["sites"])}).fetchall()
    return tuple(HubMatch(id, name, float(cosine), sites=tuple(sites)) for id, name, cosine, sites in rows)


def _count(hub: Hub, sites: Sequence[str]) -> int:
    """How many samples the people at ``sites`` have, at most one more than EXACT_SAMPLES; without sites, about how many
    there are, by the statistics of PostgreSQL: counting a million takes longer than searching them."""
    if not sites:
        row = hub.execute("SELECT reltuples FROM pg_class WHERE oid = 'rkface.sample'::regclass").fetchone()
        if row is not None and row[0] >= 0:
            return int(row[0])
    where = f"WHERE true{_at(sites)}"
    row = hub.execute(
        f"SELECT count(*) FROM (SELECT FROM rkface.sample {where} LIMIT {EXACT_SAMPLES + 1}) AS found".encode(),
        {"sites": list(sites)},
    ).fetchone()
    return int(row[0]) if row else 0


def _at(sites: Sequence[str]) -> str:
    """The condition that the person of a sample is known now at one of the parameter ``sites``."""
    return (
        " AND EXISTS (SELECT FROM rkface.stay WHERE stay.person = sample.person AND stay.site = ANY(%(sites)s) "
        f"AND {_VALID})"
        if sites
        else ""
    )


def _text(embedding: NDArray[np.float32]) -> str:
    return json.dumps([float(value) for value in embedding])

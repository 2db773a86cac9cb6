"""Which faces show one person, without names: clusters of embeddings.

Two faces are joined by an edge if their cosine reaches the match threshold. The edges alone would chain strangers
together, so each face takes the label that has most weight among its neighbors: Chinese Whispers (C. Biemann,
"Chinese Whispers - an Efficient Graph Clustering Algorithm", TextGraphs 2006), which dlib uses for faces, too. Here it
is made deterministic: the weight of an edge is how far the cosine is above the threshold, the faces take turns in a
fixed order, and ties go to the smaller label.

Computing N·(N-1)/2 cosines of D numbers is the cost: N²·D multiplications and additions, 51 billion for 10,000 faces of
512 numbers. ``FaceGraph`` keeps the edges, so that M new faces cost only 2·M·N·D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS = 512  # faces that are compared with all others at once: 20 MB of cosines for 10,000 faces
NEIGHBORS = 32  # edges that a new face keeps, the strongest: more of the same person say nothing new
ROUNDS = 20  # Biemann: it converges in a few rounds; a bound, because two labels may alternate


@dataclass(frozen=True, eq=False)
class FaceGraph:
    """N faces and E edges between them.

    ids      of the faces
    vectors  N×D float32, unit length
    edges    E×2 int64: the places of two faces, the first one smaller
    weights  E float32: their cosine
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    edges: NDArray[np.int64]
    weights: NDArray[np.float32]

    def updated(self, ids: tuple[str, ...], vectors: NDArray[np.float32], threshold: float) -> FaceGraph:
        """The graph of the faces ``ids`` with the embeddings ``vectors`` (N×D). Only faces that are new here, or whose
        embedding has changed, are compared with the others. ``threshold`` must be that of this graph."""
        place = {id: number for number, id in enumerate(self.ids)}
        known = np.array([place.get(id, -1) for id in ids], np.int64)
        same = known >= 0
        if same.any() and self.vectors.shape[1] == vectors.shape[1]:
            same[same] = (self.vectors[known[same]] == vectors[same]).all(axis=1)
        else:
            same[:] = False
        new_place = np.full(len(self.ids), -1, np.int64)
        new_place[known[same]] = np.flatnonzero(same)
        kept = new_place[self.edges].reshape(-1, 2)
        stay = (kept >= 0).all(axis=1)
        fresh = np.flatnonzero(~same)
        edges, weights = _compare(vectors, fresh, threshold)
        both = np.concatenate([np.sort(kept[stay], axis=1), edges])
        return FaceGraph(ids, vectors, both, np.concatenate([self.weights[stay], weights]))


EMPTY = FaceGraph((), np.zeros((0, 1), np.float32), np.zeros((0, 2), np.int64), np.zeros(0, np.float32))


def _compare(
    vectors: NDArray[np.float32], fresh: NDArray[np.int64], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The edges between the faces at ``fresh`` and all others, each once, and their cosines."""
    is_fresh = np.zeros(len(vectors), bool)
    is_fresh[fresh] = True
    edges, weights = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(fresh), ROWS):
        rows = fresh[start : start + ROWS]
        cosines = vectors[rows] @ vectors.T
        cosines[np.arange(len(rows)), rows] = -1  # no edge to itself
        if cosines.shape[1] > NEIGHBORS:
            least = np.partition(cosines, -NEIGHBORS, axis=1)[:, -NEIGHBORS]
            cosines[cosines < least[:, None]] = -1
        row, column = np.nonzero(cosines >= threshold)
        edges.append(np.sort(np.stack([rows[row], column], axis=1), axis=1))
        weights.append(cosines[row, column])
    joined, cosine = np.concatenate(edges), np.concatenate(weights)
    _, first = np.unique(joined @ np.array([len(vectors), 1], np.int64), return_index=True)
    return joined[first], cosine[first]


def cluster(graph: FaceGraph, threshold: float) -> NDArray[np.int64]:
    """The cluster of each of the N faces, N int64: the place of its first face."""
    count = len(graph.ids)
    labels = np.arange(count)
    starts, neighbors, weights = _adjacency(graph, threshold)
    turns = [place for place in range(count) if starts[place + 1] > starts[place]]
    for _ in range(ROUNDS):
        changed = False
        for place in turns:
            here = slice(starts[place], starts[place + 1])
            found, at = np.unique(labels[neighbors[here]], return_inverse=True)
            label = found[np.bincount(at, weights[here]).argmax()]
            changed |= bool(label != labels[place])
            labels[place] = label
        if not changed:
            break
    _, first, at = np.unique(labels, return_index=True, return_inverse=True)
    clusters: NDArray[np.int64] = first[at].astype(np.int64)
    return clusters


def _adjacency(graph: FaceGraph, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each face, where its neighbors start (N+1), the neighbors, and how far they are above ``threshold``."""
    both = np.concatenate([graph.edges, graph.edges[:, ::-1]])
    weights = np.tile(graph.weights, 2).astype(np.float64) - threshold + 1e-6
    order = np.lexsort((both[:, 1], both[:, 0]))
    counts = np.bincount(both[:, 0], minlength=len(graph.ids)) if len(both) else np.zeros(len(graph.ids), np.int64)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), both[order, 1], weights[order]

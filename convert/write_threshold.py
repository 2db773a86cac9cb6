"""Writes the match threshold that an evaluation found into the bundle, with its evidence."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.errors import InputError

from .bundle_writer import set_match_threshold
from .evaluate.evaluation import EvaluationResult


def write_threshold(bundle: Bundle, found: EvaluationResult, *, accept: bool) -> float:
    """Write the threshold of the decisive model into the manifest of ``bundle``, and return it. Raises InputError if
    there are too few pairs to trust it, unless the user wants to ``accept`` that."""
    if found.few and not accept:
        raise InputError(
            f"the threshold was not written: {'; '.join(found.few)}. Add photos, request another --far, or write it "
            "anyway with --accept"
        )
    best = found.decisive
    evidence: dict[str, Any] = {
        "by": "rkface evaluate",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": best.model,
        "far": found.far,
        "interval": [best.chosen.threshold.low, best.chosen.threshold.high],
        "accepted": {"different": asdict(best.chosen.far), "same": asdict(best.chosen.tar)},
        "data": {
            "kind": found.kind,
            "people": found.people,
            "photos": found.photos,
            "faces": found.faces,
            "same": found.same,
            "different": found.different,
        },
        "before": bundle.manifest.thresholds.match,
    }
    if found.few:
        evidence["accepted_although"] = list(found.few)
    threshold = round(best.chosen.threshold.value, 4)
    set_match_threshold(bundle, threshold, evidence)
    return threshold

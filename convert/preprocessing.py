"""How a model expects its image: the order of the channels, and the normalization. Read from the model, stated by the
user, or measured on photos (convert/measure_preprocessing.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Role, Triple
from rkface.runtime.core.onnx_file import CHANNELS
from rkface.runtime.vision.detectors import Family

from .catalog import NORMALIZATION
from .prepare.normalization import InnerNormalization, read_normalization

Origin = Literal["default", "stated", "model", "photos"]
INSIDE: tuple[Triple, Triple] = ((0.0,) * 3, (1.0,) * 3)  # the model gets 0..255 and normalizes them itself
FRACTIONS: tuple[Triple, Triple] = ((0.0,) * 3, (255.0,) * 3)  # the model gets 0..1


@dataclass(frozen=True)
class StatedPreprocessing:
    """What the user says about the recognizer; None where the user says nothing.

    bgr            the model takes blue, green, red
    normalization  (mean, std) of values 0..255, in RGB order, or in the model's own order if ``bgr`` is None;
                   ``INSIDE`` if the model normalizes by itself
    """

    bgr: bool | None = None
    normalization: tuple[Triple, Triple] | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How a model expects its image, and where that is known from.

    bgr            the model was trained on blue, green, red; rkface turns its first layer, so that it takes RGB
    mean, std      of values 0..255 in RGB order, which rkface applies; 0 and 1 if the model normalizes by itself
    order          where ``bgr`` comes from
    normalization  where ``mean`` and ``std`` come from: "stated" by the user, read from the "model", measured on
                   "photos", or the "default"
    reasons        for people: why
    doubt          for people: what could not be determined; "" if nothing
    """

    bgr: bool
    mean: Triple
    std: Triple
    order: Origin = "default"
    normalization: Origin = "default"
    reasons: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def inside(self) -> bool:
        """Whether the model normalizes by itself."""
        return (self.mean, self.std) == INSIDE

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        raw = asdict(self)
        return {"channels": "BGR" if raw.pop("bgr") else "RGB", **raw}

    def __str__(self) -> str:
        return f"{'BGR' if self.bgr else 'RGB'}, {describe_normalization(self.mean, self.std)}"


def describe_normalization(mean: Triple, std: Triple) -> str:
    """For people: "(x − 127.5) / 128", or that the model normalizes 0..255 by itself."""
    if (mean, std) == INSIDE:
        return "values of 0..255, which it normalizes itself"
    means, stds = (
        f"{values[0]:.5g}" if len(set(values)) == 1 else f"({', '.join(f'{one:.5g}' for one in values)})"
        for values in (mean, std)
    )
    return f"(x − {means}) / {stds}"


def read_preprocessing(
    path: Path,
    proto: Any,
    name: str,
    role: Role,
    stated: StatedPreprocessing,
    *,
    family: Family | None = None,
    takes_bytes: bool = False,
) -> Preprocessing:
    """What the ModelProto ``proto`` itself and the user say about its input ``name``; the rest are defaults.

    ``family`` is that of a detector, ``takes_bytes`` says that the input was declared as uint8. Raises InputError if
    the user's mean and std would normalize an image twice.
    """
    inner = read_normalization(proto, name)
    turned = any(one.key == CHANNELS and one.value == "RGB" for one in proto.metadata_props)
    reverses = family is not None and inner is not None and inner.reverses and not turned
    family_bgr = family is not None and not turned and (family.order == "BGR") != reverses
    bgr = stated.bgr if stated.bgr is not None else family_bgr
    (mean, std), origin, reasons = (family.mean, family.std) if family else NORMALIZATION[role], "default", []
    outside = _outside(inner, family, bgr=bgr) if inner is not None and inner.scales else None
    if outside is not None:
        (mean, std), origin = outside, "model"
        fits = " of values 0..255" if outside == INSIDE else ", which fits values of 0..1"
        reasons.append(f"its first operators compute {inner}{fits}")
    elif takes_bytes:
        (mean, std), origin = INSIDE, "model"
        reasons.append("its input is bytes")
    if stated.normalization is not None:
        if origin == "model" and (mean, std) == INSIDE and stated.normalization != INSIDE:
            raise InputError(
                f"{path} normalizes by itself ({reasons[0]}), so with --{role}-mean and --{role}-std its input would "
                f"be normalized twice: leave them out, or write --{role}-mean none"
            )
        (mean, std), origin, reasons = stated.normalization, "stated", []
    if reverses:
        reasons.append("they also reverse the channels" if reasons else "its first operators reverse the channels")
    elif family is not None and bgr:
        reasons.append(f"models of the family {family.name} do")
    order: Origin = "default" if stated.bgr is None else "stated"
    return Preprocessing(bool(bgr), mean, std, order, origin, tuple(reasons))  # type: ignore[arg-type]


def _outside(inner: InnerNormalization, family: Family | None, *, bgr: bool) -> tuple[Triple, Triple] | None:
    """The normalization before the model's own ``inner``, if that is not the usual one; None if it is, or not known.

    Of a detector it is known what both together must be: the normalization of its ``family``.
    """
    if family is not None:
        whole = (family.mean[::-1], family.std[::-1]) if bgr else (family.mean, family.std)
        for outer in ((family.mean, family.std), INSIDE, FRACTIONS):
            if inner.completes(outer, whole):
                return None if outer == (family.mean, family.std) else outer
    if inner.of_bytes:
        return INSIDE
    return FRACTIONS if inner.of_fractions else None

"""A deeper IResNet out of a shallower one, so that most of the training is done in a third of the time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..models import IResNet, ResidualBlock, iresnet

_SIDE = 7  # of the last features at 112×112


def grow(small: IResNet, old: Sequence[int], new: Sequence[int], widths: Sequence[int]) -> IResNet:
    """A network with ``new`` blocks in each stage that answers nearly as ``small``, which has ``old`` blocks.
    ``widths`` are the channels of the stages of both.

    The first block of a stage stays. Each of the others becomes several copies, which add an equal share of what it
    adds, as an Euler step of a differential equation becomes several shorter ones (arXiv 1710.10348). Training makes
    the copies different.
    """
    large = iresnet(new, widths)
    sources, shares = [], []
    start = 0
    for total, count in zip(new, old, strict=True):
        inner = [1 + at * (count - 1) // (total - 1) for at in range(total - 1)]
        sources += [start, *(start + one for one in inner)]
        shares += [1.0, *(1.0 / inner.count(one) for one in inner)]
        start += count
    for name in ("stem", "last", "dense", "norm"):
        getattr(large, name).load_state_dict(getattr(small, name).state_dict())
    for block, source, share in zip(large.blocks, sources, shares, strict=True):
        block.load_state_dict(small.blocks[source].state_dict())
        assert isinstance(block, ResidualBlock)
        final = block.body[-1]
        assert isinstance(final, nn.BatchNorm2d)
        with torch.no_grad():
            final.weight.mul_(share)
            final.bias.mul_(share)
    return large


def embed(model: IResNet, images: Tensor) -> Tensor:
    """The embeddings of ``images`` (N×3×S×S normalized RGB), N×512. Below 112 pixels, the last features are enlarged to
    those of 112 pixels."""
    features = model.blocks(model.stem(images))
    if features.shape[-1] != _SIDE:
        features = nn.functional.interpolate(features, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
    embedding: Tensor = model.norm(model.dense(torch.flatten(model.last(features), 1)))
    return embedding

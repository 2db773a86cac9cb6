"""One image in, numbers out: decode, detect, align, embed, measure quality, draw."""

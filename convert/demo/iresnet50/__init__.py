"""An IResNet-50 of exactly w600k_r50's architecture, trained on rendered faces by distillation.

Its weights are not part of rkface: ``make trained-iresnet`` trains it into the cache, over as many hours as one likes.
"""

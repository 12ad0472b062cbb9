"""Widths: tell from shapes that a network is a wider, narrower or grouped variant of the one that a table reads."""

import statistics
from collections.abc import Iterable

Shape = tuple[int, ...]
FEWEST = 3  # kernels that must agree
SHARE = 0.7  # of the ratios that must lie near their median: narrow networks round widths to multiples of 8
NEAR = 0.2


def likely_variant(kernels: Iterable[tuple[Shape, Shape]]) -> str:
    """Say how kernels differ from those of a network, as (theirs, the network's), both (height, width, in, out).

    Returns '' where they do not differ by a common factor.

    >>> likely_variant([((3, 3, 8, 8), (3, 3, 16, 16)), ((1, 1, 8, 4), (1, 1, 16, 8)), ((1, 1, 4, 2), (1, 1, 8, 4))])
    'its layers are 0.5 times as wide, as of a width multiplier (MobileNet V2 x0.5)'
    """
    pairs = [pair for pair in kernels if len(pair[0]) == len(pair[1]) == 4 and all(pair[0]) and all(pair[1])]
    grouped = [a for a, b in pairs if a[0] > 1 and 2 * a[2] <= b[2] and a[3] >= b[3]]
    if len(grouped) >= FEWEST:
        return "its kernels take few of their inputs, as of grouped convolutions (ResNeXt)"
    ratios = [own / other for a, b in pairs[1:] for own, other in zip(a[2:], b[2:], strict=True) if own != other]
    if len(ratios) < FEWEST:
        return ""
    factor = statistics.median(ratios)
    if sum(abs(ratio / factor - 1) <= NEAR for ratio in ratios) < SHARE * len(ratios):
        return ""
    kind = f"a width multiplier (MobileNet V2 x{factor:.3g})" if factor < 1.9 else "a wide variant (wide_resnet)"
    return f"its layers are {factor:.3g} times as wide, as of {kind}"

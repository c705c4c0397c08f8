# SPDX-License-Identifier: Apache-2.0
"""Which layers run as streams along the width, where these may need less than anything along the height."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.stream.paths import Edge
from mcucompiler.stream.patience import Patience
from mcucompiler.stream.search import Search
from mcucompiler.stream.widths import Widths

_MARGIN = 8  # a stream needs more than its bound, which knows of no scratch: an eighth at least
_INFINITE = 1 << 62


def edges_along_width(search: Search, widths: Widths) -> Iterator[Edge]:
    """The streams along the width that may be worth while, the shorter ones first.

    Args:
        search: which has given all streams along the height.
        widths: what groups need at least.
    """
    promises = tuple(widths.promises(search.takes, search.fed))
    floor = search.attainable(promises)
    covers = search.covers.again()
    patience = Patience(len(search.layers))
    for needed, group in sorted(promises, key=lambda promise: (promise[1].stop - promise[1].first, promise[1].first)):
        first, stop = group.first, group.stop
        most = max(layer.bytes for layer in search.layers[first:stop])
        if group.fed is None and most <= floor:
            continue
        known = covers.bytes(first, stop)
        if patience.ends(first, needed) or known <= max(needed + needed // _MARGIN, floor):
            continue
        patience.missed(first, needed, spans=search.spans(first, stop))
        for edge in search.variants(group, _INFINITE if group.fed else most):
            if edge.bytes < known:
                patience.gained(first)
            covers.add(first, stop, edge.bytes)
            yield search.known(edge)

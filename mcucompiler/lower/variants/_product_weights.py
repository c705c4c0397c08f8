# SPDX-License-Identifier: Apache-2.0
"""What a layer's weights allow: bytes or halfwords, and which channels may come second where bytes are stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mcucompiler.lower.packing import BlockCounts, Channels, arrange_blocks, arrange_pairs, is_narrow
from mcucompiler.lower.variants._weighted import INT8_RANGE, Int64Array, WeightedLayer
from mcucompiler.numerics.forms import RAISED_BITS, RaisedForm, RequantForm
from mcucompiler.numerics.integer_form import accumulator_range
from mcucompiler.numerics.raised_form import LARGEST_RAISED, find_raised_form
from mcucompiler.numerics.staircase import MAX_SHIFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a layer's weights allow.

    Attributes:
        narrow: whether they are packed as bytes.
        stackable: whether these may be stacked.
    """

    narrow: bool
    stackable: bool


def weights_of(layer: WeightedLayer, groups: int = 1) -> Weights:
    """What the weights of a layer allow, whose output channels come in ``groups``."""
    narrow = is_narrow(layer.weights)
    if not narrow or layer.form.shift + RAISED_BITS > MAX_SHIFT:
        return Weights(narrow=narrow, stackable=False)
    light, proved = _light(layer).reshape(groups, -1), layer.form.proved.reshape(groups, -1)
    none = np.zeros(light.shape[1], np.bool_)
    arranged = [arrange_pairs(one, none, other, 2) for one, other in zip(proved, light, strict=True)]
    return Weights(narrow=True, stackable=None not in arranged)


def raised_form(layer: WeightedLayer) -> RaisedForm:
    """Forms of the channels that are exact at the second place of stacked weights only, behind others' first."""
    if layer.form.all_proved or not bool(layer.form.proved.any()):
        nothing = np.zeros(len(layer.weights), np.int32)
        return RaisedForm(offsets=nothing, multipliers=nothing.copy())
    least, greatest = accumulator_range(layer.weights, layer.bias, *INT8_RANGE)
    return _raised_form(layer.form, least.tobytes(), greatest.tobytes())


@lru_cache(maxsize=1024)
def _raised_form(form: RequantForm, least: bytes, greatest: bytes) -> RaisedForm:
    """``find_raised_form`` on the bytes of arrays: bands of a layer share one form."""
    return find_raised_form(form, np.frombuffer(least, np.int64), np.frombuffer(greatest, np.int64))


def arranged(
    layer: WeightedLayer, raised: RaisedForm | None, parts: Sequence[slice], size: int
) -> tuple[BlockCounts, ...]:
    """Blocks of ``size`` channels of each part of a layer; by pairs for stacked weights, where ``raised`` is given."""
    proved = layer.form.proved
    if raised is None:
        return tuple(arrange_blocks(proved[part], size) for part in parts)
    light, none = _light(layer), np.zeros_like(proved)
    found = [
        arrange_pairs(proved[part], raised.found[part], light[part], size)
        or arrange_pairs(proved[part], none[part], light[part], size)
        for part in parts
    ]
    blocks = tuple(counts for counts in found if counts is not None)
    if len(blocks) < len(parts):
        raise ValueError("too many channels cannot be the second of a pair")
    return blocks


def channels_of(layer: WeightedLayer, part: slice, places: Int64Array, raised: RaisedForm | None) -> Channels:
    """Some of a layer's channels as the stream takes them, with their ``places`` and raised forms if there are any."""
    nothing = np.zeros(len(layer.weights), np.int32)
    offsets, multipliers = (raised.offsets, raised.multipliers) if raised is not None else (nothing, nothing)
    return Channels(
        weights=layer.weights[part],
        bias=layer.bias[part],
        multipliers=layer.integer_bits[part],
        float_bits=layer.float_bits[part],
        proved=layer.form.proved[part],
        index=places[part],
        raised=RaisedForm(offsets=offsets[part], multipliers=multipliers[part]),
    )


def _light(layer: WeightedLayer) -> npt.NDArray[np.bool_]:
    """Channels that may be the second of a pair in stacked weights.

    Their weights may be one less, their sums 256 times as large, and their float32 multiplier 1/256.
    """
    least, greatest = accumulator_range(layer.weights, layer.bias, *INT8_RANGE)
    factor = layer.form.float_multipliers
    divided = np.asarray(factor / np.float32(1 << RAISED_BITS), np.float32)
    return np.asarray(
        (layer.weights.min(axis=1, initial=0) > INT8_RANGE[0])
        & (least >= -LARGEST_RAISED)
        & (greatest <= LARGEST_RAISED)
        & (divided * np.float32(1 << RAISED_BITS) == factor)
    )

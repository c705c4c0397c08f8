# SPDX-License-Identifier: Apache-2.0
"""Camera pixels as the rows of an image: formats, their meaning, and the conversion in numpy that defines the C.

A pixel's components are 0 to 255. Those of 5 and 6 bits are widened by replication of their top bits. A network with
one channel takes color as ``(19595 r + 38470 g + 7471 b + 32768) >> 16``, which is ITU-R BT.601 and what Pillow's
``convert("L")`` computes; a network with three channels takes grey three times.

What a component p stands for: by default the whole range of the network's type, ``q = p - 128`` for int8 and ``q = p``
for uint8. Where the user says how the network was trained, the real value is ``x = f32((p * scale - mean) / std)`` and
the element is that of QuantizeLinear, ``q = clamp(rint(f32(x / input_scale)) + zero_point)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mcucompiler.errors import UsageError
from mcucompiler.ir.graph import Array
from mcucompiler.words import counted

_LUMA = (19595, 38470, 7471)
_LUMA_SHIFT = 16
_CHANNELS = (1, 3)
_ELEMENTS = ("int8", "uint8")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """A pixel in memory.

    Attributes:
        name: as given to ``--pixel-format``.
        bytes: of a pixel.
        components: byte of red, green and blue, or of grey; () where 16 bits hold 5, 6 and 5.
        big_endian: whether the first byte of those 16 bits is the upper one.
        about: in words.
    """

    name: str
    bytes: int
    components: tuple[int, ...] = ()
    big_endian: bool = False
    about: str

    @property
    def grey(self) -> bool:
        """Whether it has no color."""
        return len(self.components) == 1


FORMATS = {
    entry.name: entry
    for entry in (
        PixelFormat(name="rgb888", bytes=3, components=(0, 1, 2), about="bytes red, green, blue"),
        PixelFormat(name="bgr888", bytes=3, components=(2, 1, 0), about="bytes blue, green, red"),
        PixelFormat(name="rgb565", bytes=2, about="16 bits, red on top, lower byte first"),
        PixelFormat(name="rgb565be", bytes=2, big_endian=True, about="16 bits, red on top, upper byte first"),
        PixelFormat(name="gray8", bytes=1, components=(0,), about="one byte of grey"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What a camera gives and what it means.

    Attributes:
        format: the pixel in memory.
        scale: factor of each channel as the user wrote it, one for all, or () for the default meaning.
        mean: what is subtracted then, one number or one for each channel.
        std: what the difference is divided by; likewise.
    """

    format: PixelFormat
    scale: tuple[str, ...] = ()
    mean: tuple[str, ...] = ()
    std: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """The real value in one line, "" for the default."""
        if not self.scale:
            return ""
        return f"(p * {_text(self.scale)} - {_text(self.mean)}) / {_text(self.std)}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conversion:
    """Pixels to the elements of one input.

    Attributes:
        pixels: what comes in.
        channels: of the network's input, 1 or 3.
        dtype: its type, int8 or uint8.
        table: [channels, 256] elements of that type by component; None where the default meaning applies.
    """

    pixels: Pixels
    channels: int
    dtype: str
    table: Array | None

    def convert(self, frame: Array) -> Array:
        """Elements [height, width, channels] from bytes [height, width, bytes of a pixel]."""
        components = _components(frame.astype(np.int64), self.pixels.format)
        if self.channels == 1 and components.shape[-1] == len(_LUMA):
            components = (components @ np.array(_LUMA) + (1 << (_LUMA_SHIFT - 1))) >> _LUMA_SHIFT
            components = components[..., None]
        components = np.broadcast_to(components, (*components.shape[:-1], self.channels))
        if self.table is None:
            return (components - (128 if self.dtype == "int8" else 0)).astype(self.dtype)
        return np.stack([self.table[channel][components[..., channel]] for channel in range(self.channels)], axis=-1)


def parse_pixels(name: str, *, scale: str = "", mean: str = "", std: str = "") -> Pixels | None:
    """The user's words: a format, and numbers such as "1/255" or "0.485,0.456,0.406"; None where there are none.

    Raises:
        UsageError: an unknown format, what is not a number, or a meaning without a format.
    """
    if not name:
        if scale or mean or std:
            raise UsageError("--pixel-scale, --pixel-mean and --pixel-std need --pixel-format")
        return None
    if name not in FORMATS:
        raise UsageError(f"--pixel-format {name!r} is unknown; known are {', '.join(FORMATS)}")
    if not scale:
        if mean or std:
            raise UsageError("--pixel-mean and --pixel-std need --pixel-scale, e.g. 1/255")
        return Pixels(format=FORMATS[name])
    divisors = _numbers("std", std or "1")
    if not all(map(Fraction, divisors)):
        raise UsageError("--pixel-std must not be zero")
    return Pixels(
        format=FORMATS[name], scale=_numbers("scale", scale), mean=_numbers("mean", mean or "0"), std=divisors
    )


def conversion(
    pixels: Pixels, *, name: str, shape: Sequence[int], dtype: str, scale: float | None, zero_point: int | None
) -> Conversion:
    """What converts pixels to an input of a network.

    Args:
        pixels: what comes in.
        name: of the input, for messages.
        shape: extents in memory order.
        dtype: element type.
        scale: of its elements, None where they are plain numbers.
        zero_point: likewise.

    Raises:
        UsageError: the input is no image of 1 or 3 channels of 8 bits, or the meaning does not fit it.
    """
    if len(shape) != 4 or shape[3] not in _CHANNELS or dtype not in _ELEMENTS:
        extents = "x".join(map(str, shape))
        raise UsageError(
            f"--pixel-format needs an input of int8 or uint8 [1, height, width, 1 or 3] in C; "
            f"{name!r} is {dtype} [{extents}]; without --pixel-format its rows are taken as they are"
        )
    channels = shape[3]
    if not pixels.scale:
        return Conversion(pixels=pixels, channels=channels, dtype=dtype, table=None)
    if scale is None or zero_point is None:
        raise UsageError(f"--pixel-scale needs a quantized input; {name!r} has no scale")
    factors, means, divisors = (
        _for_channels(what, values, channels, name)
        for what, values in (("scale", pixels.scale), ("mean", pixels.mean), ("std", pixels.std))
    )
    reals = np.array(
        [
            [float((p * factor - mean) / divisor) for p in range(256)]
            for factor, mean, divisor in zip(factors, means, divisors, strict=True)
        ]
    ).astype(np.float32)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    with np.errstate(over="ignore"):
        steps: Array = np.rint(reals / np.float32(scale)).astype(np.float64)
    table = np.clip(steps + zero_point, low, high).astype(dtype)
    plain = np.arange(256) - (128 if dtype == "int8" else 0)
    is_plain = np.array_equal(table, [plain] * channels)
    return Conversion(pixels=pixels, channels=channels, dtype=dtype, table=None if is_plain else table)


def _components(frame: Array, layout: PixelFormat) -> Array:
    """[..., 3] or [..., 1] numbers from 0 to 255."""
    if layout.components:
        return frame[..., list(layout.components)]
    upper, lower = (frame[..., 0], frame[..., 1]) if layout.big_endian else (frame[..., 1], frame[..., 0])
    word = upper << 8 | lower
    red, green, blue = word >> 11, word >> 5 & 63, word & 31
    return np.stack([red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2], axis=-1)


def _numbers(what: str, text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    for part in parts:
        try:
            Fraction(part)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(
                f"--pixel-{what} {text!r} is neither a number such as 1/255 nor several with commas between them"
            ) from error
    return parts


def _for_channels(what: str, values: tuple[str, ...], channels: int, name: str) -> tuple[Fraction, ...]:
    if len(values) not in (1, channels):
        numbers = counted(len(values), "number")
        raise UsageError(f"--pixel-{what} has {numbers}; input {name!r} has {counted(channels, 'channel')}")
    return tuple(map(Fraction, values * channels if len(values) == 1 else values))


def _text(values: tuple[str, ...]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"

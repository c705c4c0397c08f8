# SPDX-License-Identifier: Apache-2.0
"""What other systems need for the same networks; see peers.md for where the figures come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """What the best other system needs for the same network, measured the same way (see peers.md)."""

    system: str
    instructions: int
    ram_bytes: int | None


@dataclass(frozen=True)
class Published:
    """Cycles that others publish for a real Cortex-M7: latency times clock."""

    system: str
    board: str
    cycles: int


PEERS = {
    "tinyengine_vww": Peer("TinyEngine", 34_520_000, 94_608),
    "mlperf_vww96": Peer("TFLM + CMSIS-NN", 24_480_000, 100_708),
    "mlperf_kws_dscnn": Peer("TFLM + CMSIS-NN", 7_763_000, 22_820),
    "mlperf_ad01": Peer("TFLM + CMSIS-NN", 583_000, 2_580),
}

PUBLISHED = {
    "tinyengine_vww": (Published("TinyEngine", "STM32H743, taken to be at 480 MHz", 24_500_000),),
    "mlperf_vww96": (
        Published("X-CUBE-AI 9.0", "STM32H7A3", 6_670_000),
        Published("Plumerai", "STM32F746", 7_360_000),
    ),
    "mlperf_kws_dscnn": (
        Published("X-CUBE-AI 9.0", "STM32H7A3", 3_170_000),
        Published("Plumerai", "STM32F746", 3_830_000),
    ),
    "pt_resnet8": (Published("X-CUBE-AI 9.0", "STM32H7A3", 11_440_000), Published("HALE", "STM32F746", 13_300_000)),
    "mlperf_ad01": (Published("X-CUBE-AI 9.0", "STM32H7A3", 343_000), Published("HALE", "STM32F746", 308_000)),
}
"""The best first. ResNet-8 is the same network trained anew."""

# SPDX-License-Identifier: Apache-2.0
"""The reference networks: their files, and recorded inputs and outputs of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support import models_dir

QOPERATOR = (
    "mlperf_ad01.qop",
    "mlperf_kws_dscnn.qop",
    "mlperf_vww96.qop",
    "pt_resnet8.qop_s8s8",
    "pt_resnet8.qop_u8s8_pc",
    "pt_unet_small.qop_s8s8",
    "tflm_micro_speech.qop",
    "tinyengine_vww.qop",
    "tinytrain_mbv2_w035.qop",
    "tinytrain_mcunet_5fps.qop",
)
QDQ = (
    "mlperf_ad01.qdq",
    "mlperf_kws_dscnn.qdq",
    "mlperf_vww96.qdq",
    "pt_resnet8.qdq_s8s8_pc",
    "pt_resnet8.qdq_s8s8_pc_legacy17_dynN",
    "pt_resnet8.qdq_u8s8",
    "pt_unet_small.qdq_s8s8_pc",
    "pt_unet_small.qdq_u8s8",
    "tflm_micro_speech.qdq",
    "tinyengine_vww.qdq",
    "tinytrain_mbv2_w035.qdq",
    "tinytrain_mcunet_5fps.qdq",
)
SAMPLES = 2


def model(name: str) -> Path:
    return models_dir() / name.split(".")[0] / f"{name}.onnx"


def stored(name: str, prefix: str, names: list[str]) -> list[dict[str, np.ndarray]]:
    with np.load(models_dir() / name.split(".")[0] / "io.npz") as archive:
        return [{n: archive[f"{prefix}__{n}"][index] for n in names} for index in range(SAMPLES)]

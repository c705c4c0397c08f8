# SPDX-License-Identifier: Apache-2.0
"""Sends test images to app.c over a serial port and prints its answers: ``send.py PORT [COUNT]``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import serial

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))

import data


def main() -> None:
    """Sends them; PORT is a serial port or a URL of pyserial's, such as socket://127.0.0.1:5555."""
    _, _, images, labels = data.load()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with serial.serial_for_url(sys.argv[1], baudrate=115_200, timeout=10) as port:
        for image, label in zip(images[:count], labels, strict=False):
            port.write(np.rint((image + 1) * 127.5).astype(np.uint8).tobytes())
            answer = port.readline()
            while answer and not answer.startswith((b"digit ", b"image ")):  # what was said before the first image
                answer = port.readline()
            print(f"a {label}: {answer.decode().strip() or 'no answer within 10 s'}")


if __name__ == "__main__":
    main()

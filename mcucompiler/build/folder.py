# SPDX-License-Identifier: Apache-2.0
"""Build folders that are complete or absent, and are made again only when something they depend on has changed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

_STAMP = "stamp"


def digest(texts: Iterable[str], files: Iterable[Path]) -> str:
    """SHA-256 over texts and the names and contents of files, hexadecimal."""
    total = hashlib.sha256()
    for text in texts:
        total.update(text.encode("utf-8", "surrogateescape") + b"\0")
    for path in files:
        total.update(path.name.encode("utf-8", "surrogateescape") + b"\0" + path.read_bytes())
    return total.hexdigest()


def make_folder(target: Path, key: str, fill: Callable[[Path], None]) -> Path:
    """``target``, filled by ``fill`` unless it is there already and was made under the same ``key``.

    It is filled under another name and then renamed, so that it never exists half-made.

    Args:
        target: the folder.
        key: digest of all that the contents depend on.
        fill: writes the contents into the folder it is given.
    """
    if _is_current(target, key):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fill(temporary)
        (temporary / _STAMP).write_text(key, encoding="utf-8")
        temporary.chmod(0o755)
        _replace(temporary, target, key)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _replace(source: Path, target: Path, key: str) -> None:
    """Rename a folder over another, which is removed, unless another process has just put the same there."""
    with tempfile.TemporaryDirectory(prefix=f".old-{target.name}-", dir=target.parent) as old:
        try:
            if target.exists():
                target.rename(Path(old) / target.name)
            source.rename(target)
        except OSError:
            if not _is_current(target, key):
                raise


def _is_current(target: Path, key: str) -> bool:
    try:
        return (target / _STAMP).read_text(encoding="utf-8") == key
    except OSError:
        return False

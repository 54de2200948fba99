"""Keys that are made once and kept in a file only their owner can read."""

import os
import secrets
from pathlib import Path


def key_from(path: Path) -> str:
    """The key in `path`; a new random one is written there first when there is none.

    Two processes that start together get the same key: the file is linked into place whole, and
    whoever comes second reads what the first one wrote.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()

"""What clients are told of files: their names, and never where on the server they are. Pure."""

import re
from pathlib import Path

_FOLDERS = re.compile(r"""(?<![\w.:/~-])~?/(?:[^\s/'"():,;]+/)+""")
"""An absolute path up to its last part. What stands behind a letter or a slash is no such path, but
the middle of a relative one or of an address."""


def without_folders(text: str, model: Path) -> str:
    """Return *text* with its absolute paths cut: below *model*'s folder to there, others to a name.

    Native libraries put paths into what they say, and so does `OSError`. The model's own folder is
    cut first, since its name may hold what ends a path in a text, such as a space. What is not
    UTF-8 in a name is a `?`: JSON cannot hold it.
    """
    for path in (model, model.absolute()):
        if len(path.parent.parts) > 1:
            text = text.replace(f"{path.parent}/", "")
    return _FOLDERS.sub("", text).encode("utf-8", "replace").decode()

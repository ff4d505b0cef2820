"""Fetch the default models' weights into a folder: `fetch_weights.py FOLDER` (image build).

The weights are checked against the published digests; a wrong file fails the build. At run time
`FACECORE_MODEL_DIR` points to the folder, so containers need no way to the internet.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from facecore.zoo import weights


def main(folder: Path) -> None:
    """Write every default model's weights, under its published name, to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        for name in ("yunet", "sface"):
            fetched = weights.fetch(name, Path(cache), None)
            shutil.copy(fetched, folder / fetched.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

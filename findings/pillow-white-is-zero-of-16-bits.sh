#!/usr/bin/env bash
# pillow 13.0.0, numpy
#
# A grey TIFF may say that zero is white (PhotometricInterpretation 0), as scanners and X-ray devices write it. Pillow
# inverts such a picture of 8 bits and leaves one of 16 bits as stored, in the same mode I;16 as one in which zero is
# black: the picture comes out as its negative, and neither mode nor size tells. The tag 262 does.
#
# Output seen, the same four pixels stored each way, 16 bits divided by 257:
#   zero is black: 8 bits [0, 20, 100, 255], 16 bits [0, 20, 100, 255]
#   zero is white: 8 bits [255, 235, 155, 0], 16 bits [0, 20, 100, 255]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen
import io
import struct

import numpy as np
from PIL import Image

WIDTH, SHORT, LONG, ENTRIES = 4, 3, 4, 9


def tiff(bits, pixels, photometric):
    """One row of grey pixels, uncompressed, behind its directory."""
    behind = 8 + 2 + ENTRIES * 12 + 4
    tags = {256: WIDTH, 257: 1, 258: bits, 259: 1, 262: photometric, 273: behind, 277: 1, 278: 1, 279: len(pixels)}
    listed = (struct.pack("<HHII", tag, LONG if tag in (273, 279) else SHORT, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, ENTRIES) + b"".join(listed) + struct.pack("<I", 0) + pixels


def read(content):
    return np.asarray(Image.open(io.BytesIO(content)))[0].astype(int)


stored = np.array([0, 20, 100, 255], np.uint8)
for name, photometric in (("black", 1), ("white", 0)):
    eight = read(tiff(8, stored.tobytes(), photometric))
    sixteen = read(tiff(16, (stored.astype("<u2") * 257).tobytes(), photometric)) // 257
    print(f"zero is {name}: 8 bits {eight.tolist()}, 16 bits {sixteen.tolist()}")
PYTHON
diff seen - <<'EXPECTED'
zero is black: 8 bits [0, 20, 100, 255], 16 bits [0, 20, 100, 255]
zero is white: 8 bits [255, 235, 155, 0], 16 bits [0, 20, 100, 255]
EXPECTED

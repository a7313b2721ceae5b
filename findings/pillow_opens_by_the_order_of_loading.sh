#!/usr/bin/env bash
# Asking Pillow which file endings it knows, before any picture was opened, makes every later JPEG twice as slow to open.
#
# Guess before it was run: registered_extensions() fills a table; how fast a JPEG opens does not depend on it.
# Seen (Pillow 12.3.0): Image.open asks the formats in the order in which their modules were loaded. The first open loads
#   the six usual formats first. registered_extensions() loads all 43 by the alphabet, so IM and IMT, which have no test
#   of the first bytes, parse the head of each file before JPEG may; each failure is an exception that is caught.
#   Opening the header of a small JPEG takes about twice the time, for the rest of the process.
# What it costs: torchvision's and other readers of image folders look at millions of headers; a program that first asks
#   for the known endings, as a folder reader does, pays for it with each.
# What helps: Image.preinit() before Image.registered_extensions() or Image.init().
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q pillow==12.3.0
cd "$place"
cat > opens.py <<'PYTHON'
import io
import sys
import time

from PIL import Image

if sys.argv[1] == "usual first":
    Image.preinit()
if sys.argv[1] != "nothing asked":
    Image.registered_extensions()
file = io.BytesIO()
Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(file, "JPEG")
content = file.getvalue()
Image.open(io.BytesIO(content)).close()


def seconds():
    start = time.process_time()
    for _ in range(4000):
        Image.open(io.BytesIO(content)).close()
    return time.process_time() - start


print(f"{min(seconds() for _ in range(5)) / 4000 * 1e6:.1f}", Image.ID.index("JPEG"))
PYTHON
declare -A took
for _ in 1 2 3; do # by turns, the fastest counts
    for how in "nothing asked" "all by the alphabet" "usual first"; do
        read -r microseconds number < <("$place/env/bin/python" opens.py "$how")
        echo "$how: $microseconds us an open, JPEG is number $number of the formats"
        took[$how]+="$microseconds,"
    done
done
"$place/env/bin/python" -c "
slow, usual, fast = min([${took[all by the alphabet]}]), min([${took[nothing asked]}]), min([${took[usual first]}])
raise SystemExit(0 if slow > 1.4 * usual and fast < 1.2 * usual else 1)"

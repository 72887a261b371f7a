"""For a process that has this directory in C{PYTHONPATH}: its wall clock can be set while it runs.

It is as many seconds ahead as the file says that C{CLOCK} names.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_file, _right = Path(os.environ["CLOCK"]), time.time
time.time = lambda: _right() + float(_file.read_text())

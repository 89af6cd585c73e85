"""Makes the helpers of all tests, and those of this folder, importable here."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # for runs.py and other_device.py

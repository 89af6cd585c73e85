"""Lets the tests of this folder import `easy_sounds` and `other_device`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

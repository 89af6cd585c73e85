"""Lets the tests of this folder write `from published_files import noise`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

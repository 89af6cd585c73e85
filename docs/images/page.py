"""Takes the picture of the service's page in the documentation: docs/images/page.png.

    python docs/images/page.py RECORDING [--out FILE] [--dark] [--width 1280] [--height 1060] [--scale 1.25] [--plain]

Needs playwright and a Chromium.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PATIENCE_MS = 120_000
FADE_MS = 1_500


def main() -> None:
    """Start the service, give it the recording, ask it why, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".png"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--plain", action="store_true", help="do not show what decided")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1060)
    parser.add_argument("--scale", type=float, default=1.25)
    options = parser.parse_args()

    command = [sys.executable, "-m", "avgan", "serve", "--port", "0"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        picture = take(service.stdout.readline().strip(), options)
    finally:
        service.terminate()
    options.out.write_bytes(picture)
    print(options.out)


def take(address: str, options: argparse.Namespace) -> bytes:
    """The bytes of a PNG of the page at an address once it has answered."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            device_scale_factor=options.scale,
            color_scheme="dark" if options.dark else "light",
        )
        page.goto(address)
        page.reload()  # fonts that come late are not used before the next visit
        page.set_input_files("#file", options.recording)
        page.wait_for_selector("#why:visible", timeout=PATIENCE_MS)
        if not options.plain:
            page.check("#why")
            page.locator("#decided", has_text="\u201d").wait_for(timeout=PATIENCE_MS)
        page.wait_for_timeout(FADE_MS)
        picture: bytes = page.screenshot()
        browser.close()
    return picture


if __name__ == "__main__":
    main()

"""Play the newcomer: a fresh environment, the wheels of ``make dist``, the documents' blocks.

    python tests/helpers/newcomer.py DIST

It makes a virtual environment, installs the library's wheel alone, and runs the blocks of README.md
and docs/index.md that are marked for plain Python; then it installs the thin distributions, and
runs those for the frameworks. Once installed, a block gets no network, no model hub, an empty home
and an empty folder, and must end without an error or a warning of this library. A block is marked
by the line before it: ``<!-- newcomer: haystack -->``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/index.md")
KINDS = {  # the wheel that each kind of block needs, besides the library's own
    "python": "rerank_plugins-*.whl",
    "haystack": "rerank_plugins_haystack-*.whl",
    "llama-index": "llama_index_postprocessor_rerank_plugins-*.whl",
    "langchain": "langchain_rerank_plugins-*.whl",
}
MARKED = re.compile(r"^<!-- newcomer: (\S+) -->\n+```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OFFLINE = """
import socket
def refuse(self, address):
    raise OSError(f"a newcomer's block wants to connect to {address}")
socket.socket.connect = refuse
"""


def blocks(page):
    """Kind and code of each marked block of a page."""
    return MARKED.findall((ROOT / page).read_text("utf-8"))


def wheel(dist, pattern):
    found = sorted(dist.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{dist} has {len(found)} files {pattern}: run `make dist`")
    return str(found[0])


def run_block(python, code, folder):
    """The output of a block, without a network."""
    keep = ("PATH", "LANG", "LD_LIBRARY_PATH")
    home = {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False"}
    own = {name: os.environ[name] for name in keep if name in os.environ}
    command = [python, "-c", OFFLINE + code]
    cut = ["unshare", "--map-root-user", "--net"]
    if (
        shutil.which("unshare")
        and not subprocess.run([*cut, "true"], capture_output=True).returncode
    ):
        command = [*cut, *command]
    done = subprocess.run(
        command, cwd=folder, env=own | home, capture_output=True, text=True, timeout=120
    )
    said = done.stdout + done.stderr
    if done.returncode or "rerank_plugins" in done.stderr:
        sys.exit(f"{code}\n{said}\nThis block does not run as printed.")
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path)
    dist, start = parser.parse_args().dist.resolve(), time.monotonic()
    marked = [(page, kind, code) for page in PAGES for kind, code in blocks(page)]
    if missing := set(KINDS) - {kind for _, kind, _ in marked}:
        sys.exit(f"no block of {' and '.join(PAGES)} is marked for {sorted(missing)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        python = str(folder / "env" / "bin" / "python")
        (folder / "home").mkdir()
        install = (python, "-m", "pip", "--disable-pip-version-check", "-qq", "install")
        for kinds in (["python"], [kind for kind in KINDS if kind != "python"]):
            subprocess.run([*install, *(wheel(dist, KINDS[kind]) for kind in kinds)], check=True)
            print(f"{time.monotonic() - start:.0f} s: installed for {', '.join(kinds)}")
            for page, kind, code in marked:
                if kind in kinds:
                    run_block(python, code, folder / "home")
                    print(f"{time.monotonic() - start:.0f} s: {page}, {kind}")


if __name__ == "__main__":
    main()

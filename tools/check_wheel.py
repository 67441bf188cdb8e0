"""Build the wheel, and use it in empty environments that have one backend each.

    python tools/check_wheel.py [--backend jax] [--no-isolation]

For each backend a fresh environment gets the wheel with that extra, so Keras, numpy and the backend
and what these need, in the versions of constraints.txt. There, away from the sources, a small
network is trained, saved, loaded, hardened and, where the backend's own packages suffice, exported;
what needs other packages must fail with the command that installs them. `--no-isolation` builds
with the hatchling that is installed, for where no package index is. Exits with 1 at the first
failure.
"""

from __future__ import annotations

import argparse
import email
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
USE = Path(__file__).with_name("use_wheel.py")


def build(folder: Path, *, isolation: bool = True) -> Path:
    """Build the wheel into a folder."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command + ([] if isolation else ["--no-isolation"]), check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> str:
    """Compare the wheel's files and metadata with the sources.

    Returns:
        A line about it.

    Raises:
        ValueError: If a file is missing or too many, or the metadata say something else.
    """
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_string(file.read(path).decode())
        commands = file.read(path.replace("METADATA", "entry_points.txt")).decode()
    packages = ("keras_htaf", "keras_htaf_cli", "keras_htaf_packed")
    expected = {
        source.relative_to(ROOT).as_posix()
        for package in packages
        for source in (ROOT / package).rglob("*")
        if source.is_file() and "__pycache__" not in source.parts
    }
    found = {name for name in names if ".dist-info/" not in name}
    if found != expected:
        raise ValueError(f"{wheel.name} differs from the sources in {sorted(found ^ expected)}.")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "keras_htaf/__init__.py").read_text())[1]
    if metadata["Version"] != version or metadata["License-Expression"] != "Apache-2.0":
        raise ValueError(f"{wheel.name} says {metadata['Version']}, the package {version}.")
    needed = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    if {re.match(r"[\w-]+", r)[0] for r in needed} != {"keras", "numpy"}:
        raise ValueError(f"{wheel.name} needs {needed} without any extra.")
    if "keras-htaf = keras_htaf_cli:main" not in commands:
        raise ValueError(f"{wheel.name} has the commands {commands!r}.")
    extras = metadata.get_all("Provides-Extra")
    return f"{wheel.name}: {len(found)} files, {len(extras)} extras"


def check_use(wheel: Path, backend: str, folder: Path) -> None:
    """Install the wheel and one backend into a fresh environment and use both there."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv/bin/python"
    constraints = ROOT / "constraints.txt"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(constraints), f"{wheel}[{backend}]"], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([str(python), str(USE)], cwd=folder, env=environment, check=True)


def main() -> int:
    """Build, look into the wheel, and use it under each backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="default: all")
    parser.add_argument("--no-isolation", action="store_true", help="build with what is installed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            wheel = build(Path(folder), isolation=not options.no_isolation)
            print(check_contents(wheel), flush=True)
            for backend in options.backend or BACKENDS:
                begun = time.monotonic()
                with tempfile.TemporaryDirectory() as place:
                    check_use(wheel, backend, Path(place))
                print(f"{backend}: works ({time.monotonic() - begun:.0f} s)", flush=True)
        except (ValueError, subprocess.CalledProcessError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

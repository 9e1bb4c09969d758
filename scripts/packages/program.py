"""Build the program: one static file with CPython, libc, the packages and this checkout.

`launcher.c` is its main function and says why it is static; `freeze.py` makes the modules part
of it. The same inputs give the same bytes, in any folder and at any time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import freeze, inputs

HERE = Path(__file__).resolve().parent
# Of CPython's `Modules`: what Debian has as shared objects only.
SOURCES = {
    "_contextvars": ["_contextvarsmodule.c"],
    "_ctypes": [
        f"_ctypes/{name}.c" for name in ("_ctypes", "callbacks", "callproc", "cfield", "stgdict")
    ],
    "_json": ["_json.c"],
    "_queue": ["_queuemodule.c"],
    "_typing": ["_typingmodule.c"],
    "_zoneinfo": ["_zoneinfo.c"],
    "mmap": ["mmapmodule.c"],
    "resource": ["resource.c"],
    "termios": ["termios.c"],
}
# `-fno-pie`: Debian's Python has a fixed address too, and starts without 30,000 relocations.
FLAGS = """
    -O2 -g0 -fwrapv -fno-strict-aliasing -fno-pie -ffunction-sections -fdata-sections -DNDEBUG
    -DPy_BUILD_CORE_BUILTIN -DHAVE_FFI_PREP_CIF_VAR=1 -DHAVE_FFI_PREP_CLOSURE_LOC=1
    -DHAVE_FFI_CLOSURE_ALLOC=1
""".split()
LIBRARIES = ["-lffi", "-lcap", "-lyaml", "-lz", "-lm"]


def prepare(cache: Path) -> Path:
    """A folder with what does not depend on this checkout: packages, and their objects.

    Raises InputError.
    """
    inputs.check_system()
    archives = inputs.python_packages(cache)
    source = inputs.cpython_source(cache)
    versions = [f"{name}={inputs.installed_version(name)}" for name in inputs.LINKED]
    key = [*versions, *FLAGS, *(path.name for path in archives), Path(__file__).read_text()]
    folder = cache / f"objects-{inputs.digest(repr(key).encode())[:12]}"
    if folder.is_dir():
        return folder
    work = cache / "objects.partial"
    shutil.rmtree(work, ignore_errors=True)
    site = work / "site"
    site.mkdir(parents=True)
    inputs.site(archives, site)
    # Relative names, so that no folder of this machine gets into an object.
    (work / "cpython").symlink_to(Path("..", source.name))
    units = [f"cpython/Modules/{name}" for module in freeze.COMPILED for name in SOURCES[module]]
    _compile_all(work, [*units, *_extensions(site)])
    work.rename(folder)
    return folder


def build(cache: Path, dest: Path) -> Path:
    """The program `dest`, made with `cache` as a place to work. Raises InputError."""
    prepared = prepare(cache)
    work = cache / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(HERE / "launcher.c", work)
    _run(str(inputs.INTERPRETER), str(HERE / "freeze.py"), str(prepared / "site"), str(work))
    _compile_all(work, ["launcher.c", "tables.c", "functions.c", "code.S"])
    objects = [str(path) for folder in (work, prepared) for path in sorted(folder.glob("*.o"))]
    library = f"/usr/lib/{inputs.PYTHON}/config-{inputs.PYTHON[6:]}-{_multiarch()}"
    archive = f"{library}/lib{inputs.PYTHON}.a"
    options = ["-static", "-no-pie", "-s", "-Wl,--gc-sections", "-Wl,--build-id=none"]
    linker = ["gcc", *options, "-o", "pyinit", *objects, archive, *LIBRARIES]
    # ld warns of getaddrinfo and dlopen in a static program: launcher.c has the answers.
    _run(*linker, cwd=work)
    dest.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(work / "pyinit", dest)
    dest.chmod(0o755)
    return dest


def extension(prepared: Path) -> bytes:
    """python-prctl's extension with libcap inside, for any Python from 3.11 on and any libc.

    The stable ABI, and no library named: the process that imports it has a libc. The few functions
    that are called have no versions and no fortified variants (`-U_FORTIFY_SOURCE`).
    """
    made = prepared / "_prctl.abi3.so"
    if not made.exists():
        [prctl] = (prepared / "site").glob("python-prctl-*")
        flags = [
            "-O2",
            "-fPIC",
            "-U_FORTIFY_SOURCE",
            "-D_GNU_SOURCE",
            "-DPy_LIMITED_API=0x030B0000",
        ]
        headers = [
            word for name in ("stdlib", "string", "unistd") for word in ("-include", f"{name}.h")
        ]
        link = ["-shared", "-nostdlib", "-s", "-Wl,--exclude-libs,ALL", "-Wl,--build-id=none"]
        source = f"site/{prctl.name}/_prctlmodule.c"
        libcap = f"/usr/lib/{_multiarch()}/libcap.a"
        include = f"-I/usr/include/{inputs.PYTHON}"
        _run("gcc", *flags, *headers, include, *link, "-o", made.name, source, libcap, cwd=prepared)
    return made.read_bytes()


def check(program: Path) -> None:
    """Import every module that is in the program."""
    done = subprocess.run(
        ["pyinit-self-test"],
        executable=program,
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    if done.returncode or done.stderr:
        sys.exit(f"packages: {program} cannot import all that is in it:\n{done.stderr}")


def _extensions(site: Path) -> tuple[str, str]:
    """Put the two source archives' modules where imports find them; their C files."""
    [yaml] = site.glob("pyyaml-*")
    [prctl] = site.glob("python-prctl-*")
    cython = [str(inputs.INTERPRETER), "-sSP", "-c"]
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cython import *; "
    script += "from Cython.Compiler.Main import setuptools_main as main; main()"
    _run(*cython, script, str(site), "-3", "-o", "_yaml.c", "yaml/_yaml.pyx", cwd=yaml)
    shutil.copytree(yaml / "lib" / "yaml", site / "yaml")
    shutil.copy(prctl / "prctl.py", site)
    return f"site/{yaml.name}/_yaml.c", f"site/{prctl.name}/_prctlmodule.c"


def _compile_all(work: Path, units: list[str]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda unit: _compile(work, unit), units))


def _compile(work: Path, unit: str) -> None:
    made = unit.replace("/", "-").rpartition(".")[0] + ".o"
    python = f"/usr/include/{inputs.PYTHON}"
    include = [f"-I{python}", f"-I{python}/internal", f"-I{Path(unit).parent}/yaml"]
    _run("gcc", *FLAGS, *include, "-c", "-o", made, unit, cwd=work)


def _multiarch() -> str:
    done = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _run(*command: str, cwd: Path | None = None) -> None:
    environ = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"packages: {' '.join(command[:2])} … failed:\n{done.stdout}{done.stderr}")

"""Write what `launcher.c` is linked with: `freeze.py SITE DEST`, run by Debian's own Python.

DEST/code.bin holds the code of every module that pyinit may import, DEST/code.S names it,
DEST/tables.c says which module lies where, DEST/functions.c which functions of libc ctypes finds.
SITE holds the packages. The Python that runs this is the one that is linked: code objects are of
one minor version.

Which modules: this checkout's, and what import statements reach from them. Modules that only
bridge to something pyinit does not use (asyncio, TLS, `rich`) are cut off. The same input makes
the same bytes: nothing depends on the time, the folder, or the order of a set.
"""

from __future__ import annotations

import _imp
import ast
import marshal
import modulefinder
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OWN = "entrypoint"

# Imported somewhere, used nowhere by pyinit.
CUT = """
    _aix_support _bootsubprocess _osx_support _pydecimal _pyio _py_abc asyncio better_exceptions bz2
    colorama csv curses decimal distutils doctest email encodings.mbcs fractions greenlet
    importlib.metadata lzma multiprocessing pdb plistlib py_compile pydoc rich ssl
    statistics structlog.twisted tarfile test tkinter twisted unittest uuid xml zope
""".split()
# Imported by name at run time, where no import statement says so.
EXTRA = """
    encodings.aliases encodings.ascii encodings.charmap encodings.cp1252 encodings.cp437
    encodings.idna encodings.latin_1 encodings.raw_unicode_escape encodings.unicode_escape
    encodings.utf_16 encodings.utf_16_be encodings.utf_16_le encodings.utf_32 encodings.utf_8
    encodings.utf_8_sig inspect linecache prctl structlog traceback tracemalloc warnings yaml
    zoneinfo _strptime
""".split()

# Modules in C: those of libpython.a, those that Debian keeps in files of their own and build.py
# compiles, and those of packages.
IN_LIBPYTHON = """
    _abc _ast _bisect _blake2 _codecs _collections _csv _datetime _functools _heapq _imp _io _locale
    _md5 _opcode _operator _pickle _posixsubprocess _random _sha1 _sha256 _sha3 _sha512 _signal
    _socket _sre _stat _statistics _string _struct _symtable _thread _tokenize _tracemalloc _weakref
    array atexit binascii cmath errno faulthandler fcntl gc grp itertools math posix pwd select
    syslog time unicodedata zlib
""".split()
COMPILED = "_contextvars _ctypes _json _queue _typing _zoneinfo mmap resource termios".split()
PACKAGES = ["_prctl", "_pyinit", "_yaml"]
# Written here. Importers look for a built-in module at the top level only.
WRITTEN = {
    "yaml._yaml": "import sys, _yaml\nsys.modules[__name__] = _yaml\n",
    # zoneinfo's only question; the answer is CPython's default.
    "sysconfig": """
def get_config_var(name):
    folders = "/usr/share/zoneinfo:/usr/lib/zoneinfo:/usr/share/lib/zoneinfo:/etc/zoneinfo"
    return folders if name == "TZPATH" else None
""",
}
# Their functions have other names, or none: the interpreter makes these itself.
SPECIAL = {
    "_warnings": "_PyWarnings_Init",
    "builtins": "NULL",
    "marshal": "PyMarshal_Init",
    "sys": "NULL",
}
# The interpreter's own start needs them.
ALWAYS = """
    _abc _ast _codecs _imp _io _locale _signal _thread _tracemalloc _weakref atexit errno
    faulthandler gc itertools posix time
""".split()


def main(site: Path, dest: Path) -> None:
    """Find, compile, write."""
    sources, built_in = _reachable(site)
    blob = bytearray()
    rows: list[tuple[str, int, int, bool]] = []

    def add(name: str, text: bytes, *, package: bool, own: bool) -> None:
        blob.extend(bytes(-len(blob) % 16))
        code = _compile(name, text, own=own)
        rows.append((name, len(blob), len(code), package))
        blob.extend(code)

    add("__main__", (ROOT / "scripts" / "pyinit").read_bytes(), package=False, own=True)
    # The table is searched from its start: what is imported first stands first.
    order = {name: place for place, name in enumerate(_boot_order(site))}
    written = {**WRITTEN, "_pyinit_data": f"FILES = {_data_files()!r}\n"}
    for name in sorted({*sources, *written}, key=lambda name: (order.get(name, len(order)), name)):
        if name in written:
            add(name, written[name].encode(), package=False, own=False)
        else:
            path, package = sources[name]
            add(name, path.read_bytes(), package=package, own=path.is_relative_to(ROOT / OWN))
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "code.bin").write_bytes(blob)
    (dest / "code.S").write_text(
        ".section .rodata\n.balign 4096\n.global pyinit_code, pyinit_code_end\n"
        'pyinit_code:\n.incbin "code.bin"\npyinit_code_end:\n.byte 0\n'
        '.section .note.GNU-stack,"",%progbits\n'
    )
    (dest / "tables.c").write_text(_tables(rows, built_in))
    (dest / "functions.c").write_text(_functions())
    (dest / "modules.txt").write_text("".join(f"{name}\n" for name, *_ in rows))
    print(f"{len(rows)} modules, {len(blob):,} bytes; {len(built_in)} modules in C")


def _reachable(site: Path) -> tuple[dict[str, tuple[Path, bool]], list[str]]:
    """Modules with a file: path, and whether it is a package; and the modules in C."""
    path = [str(ROOT), str(site), sysconfig.get_path("stdlib")]
    finder = modulefinder.ModuleFinder(path=path, excludes=[*CUT, *WRITTEN])
    own = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in sorted((ROOT / OWN).rglob("*.py"))
    ]
    for name in [*own, *EXTRA]:
        finder.import_hook(name)
    # `import_hook` loads what is above a module, not always the module itself.
    modules: dict[str, Any] = dict(finder.modules)
    found = {
        name: (Path(module.__file__), module.__path__ is not None)
        for name, module in modules.items()
        if module.__file__ and name != "__main__"
    }
    missing = [name for name in [*own, *EXTRA] if name not in found]
    # libpython has these as objects that need no unmarshalling.
    for name in _imp._frozen_module_names():  # type: ignore[attr-defined]  # noqa: SLF001
        found.pop(name, None)
    if missing:
        sys.exit(f"freeze: cannot find {', '.join(missing)}")
    shared = [name for name, (file, _) in found.items() if file.suffix != ".py"]
    if shared:
        sys.exit(f"freeze: not Python: {', '.join(shared)}")
    wanted = {*finder.modules, *finder.badmodules, *ALWAYS}
    built_in = [name for name in [*IN_LIBPYTHON, *COMPILED] if name in wanted]
    return found, [*built_in, *PACKAGES, *SPECIAL]


def _data_files() -> dict[str, bytes]:
    """Files of the package that are no modules: path below it, and bytes."""
    return {
        str(path.relative_to(ROOT / OWN)): path.read_bytes()
        for path in sorted((ROOT / OWN).rglob("*"))
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name != "py.typed"
    }


def _boot_order(site: Path) -> list[str]:
    """The modules that a start with a file imports, in their order, as far as that shows here."""
    script = (
        "import sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(site)!r}]\n"
        "import encodings.utf_8, entrypoint.boot, entrypoint.cli\n"
        "import entrypoint.shell.runtime, entrypoint.config.yamlevents\n"
        "print(*sys.modules, sep='\\n')\n"
    )
    command = [sys.executable, "-ISB", "-c", script]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


def _compile(name: str, text: bytes, *, own: bool) -> bytes:
    """The marshalled code. Without docstrings: nothing shows them, and PID 1 would keep them."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            match node.body:
                case [ast.Expr(ast.Constant(str())), *rest]:
                    node.body = rest or [ast.Pass(lineno=1, col_offset=0)]
    # Assertions stay in our own code. `<…>`: a traceback looks for no such file.
    return marshal.dumps(
        compile(tree, f"<pyinit {name}>", "exec", dont_inherit=True, optimize=0 if own else 1)
    )


def _functions() -> str:
    """What `ctypes.CDLL(None)` is asked for. Without headers: only addresses are wanted."""
    called = re.compile(r"(?:.+\.)?_?libc\.(\w+)")
    names = sorted(
        {
            found[1]
            for path in (ROOT / OWN).rglob("*.py")
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Attribute) and (found := called.fullmatch(ast.unparse(node)))
        }
    )
    lines = [
        *(f"extern int {name}();" for name in names),
        "const struct { const char *name; void *address; } pyinit_functions[] = {",
        *(f'    {{"{name}", (void *){name}}},' for name in names),
        "    {0},",
        "};",
    ]
    return "\n".join(lines) + "\n"


def _tables(rows: list[tuple[str, int, int, bool]], built_in: list[str]) -> str:
    starts = {name: SPECIAL.get(name) or f"PyInit_{name}" for name in built_in}
    declared = sorted(set(starts.values()) - {"NULL"})
    lines = [
        "#include <Python.h>",
        "extern const unsigned char pyinit_code[];",
        "const struct _frozen pyinit_frozen[] = {",
        *(
            f'    {{"{name}", pyinit_code + {place}, {size}, {int(package)}, NULL}},'
            for name, place, size, package in rows
        ),
        "    {0},",
        "};",
        *(f"extern PyObject *{start}(void);" for start in declared),
        # CPython's own table, in config.o of libpython.a, is not linked: this one is found first.
        "struct _inittab _PyImport_Inittab[] = {",
        *(f'    {{"{name}", {start}}},' for name, start in starts.items()),
        "    {0},",
        "};",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # marshal writes a frozenset in the order of its hashes.
        os.execve(
            sys.executable,
            [sys.executable, "-sSP", *sys.argv],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    main(Path(sys.argv[1]), Path(sys.argv[2]))

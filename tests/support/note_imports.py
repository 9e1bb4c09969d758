"""`python -S note_imports.py FILE PYINIT [ARG…]`: run pyinit, and note what it imports in FILE.

One name a line, of this process alone: what it forks is not noted. With -S, and the packages'
folder added by hand, so that no .pth file of this machine imports anything.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
sys.path += [
    f"{os.path.dirname(os.path.dirname(sys.executable))}/lib/{VERSION}/site-packages",
    os.path.dirname(os.path.dirname(HERE)),
]
OUT = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
ME = os.getpid()


def note(names):
    try:
        os.write(OUT, "".join(f"{name}\n" for name in names).encode())
    except OSError:
        pass  # an exception here would end the import


def heard(event, args):
    if event == "import" and os.getpid() == ME:
        note(args[:1])


note(sys.modules)
sys.addaudithook(heard)
sys.argv = sys.argv[2:]
with open(sys.argv[0], encoding="utf-8") as launcher:
    code = compile(launcher.read(), sys.argv[0], "exec")
exec(code, {"__name__": "__main__", "__file__": sys.argv[0]})

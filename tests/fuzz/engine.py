"""Two engines: atheris (coverage-guided, where it is installed), and a plain mutator."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Target = Callable[[bytes], None]

CORPUS = Path(__file__).with_name("corpus")
CRASHES = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
LONGEST = 4096


class FoundError(Exception):
    """A target raised; `data` makes it do so."""

    def __init__(self, name: str, data: bytes, error: BaseException) -> None:
        super().__init__(f"{name}: {error!r} by {data!r}")
        self.data = data


def seeds(name: str) -> list[bytes]:
    """The corpus of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def keep(name: str, data: bytes) -> Path:
    """Write what made a target raise; where it is."""
    folder = CRASHES / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def plain(
    name: str, target: Target, *, seconds: float = 1e9, tries: int = 1 << 60, seed: int = 0
) -> int:
    """Try the corpus, then mutants of it for `seconds`. Returns how many. Raises FoundError."""
    known = seeds(name)
    words = sorted({word for data in known for word in data.split()})
    rng = random.Random(f"{name} {seed}")
    ends = time.monotonic() + seconds
    tried = 0
    while tried < tries and (tried < len(known) or time.monotonic() < ends):
        data = known[tried] if tried < len(known) else _mutant(rng, known, words)
        tried += 1
        try:
            target(data)
        except Exception as error:
            raise FoundError(name, data, error) from error
    return tried


def _mutant(rng: random.Random, known: list[bytes], words: list[bytes]) -> bytes:
    data = bytearray(rng.choice(known))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 8, 64)))
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            data[at:end] = rng.choice(words or [b"0"])
        elif kind == 5:
            other = rng.choice(known)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        else:
            special = (b"\0", b"\xff", b"\n", b"\r\n", b"-1", b"99999999999999999999", b"%", b"{}")
            data[at:at] = rng.choice(special)
    return bytes(data[:LONGEST])


def guided(name: str, seconds: float, seed: int) -> None:
    """atheris in this process, which it ends. Exit 0: nothing was found."""
    import atheris

    with atheris.instrument_imports(include=["entrypoint"]):
        from tests.fuzz.targets import TARGETS

    grown = CRASHES / "corpus" / name
    grown.mkdir(parents=True, exist_ok=True)
    (CRASHES / name).mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        str(grown),
        str(CORPUS / name),
        f"-max_total_time={int(seconds)}",
        f"-max_len={LONGEST}",
        f"-seed={seed or 1}",
        f"-artifact_prefix={CRASHES / name}/",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()

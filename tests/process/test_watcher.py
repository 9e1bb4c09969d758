"""The watcher on real folders, by a real loop."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint.kernel import inotify, inotify_calls
from entrypoint.loop import Loop
from entrypoint.watch.ignoring import ignorer
from entrypoint.watch.watcher import Watcher
from tests.support.wait import wait_until

DEADLINE = 20.0


class Watched:
    """A watcher, the loop that drives it, and what it told."""

    def __init__(self, folder: Path, *roots: str, ignore: tuple[str, ...] = ()) -> None:
        self.errors: list[str] = []
        self.paths: list[str] = []
        self.loop = Loop(lambda where, error: self.errors.append(f"{where}: {error!r}"))
        self.watcher = Watcher(
            self.loop,
            roots or (str(folder),),
            ignorer(ignore, str(folder)),
            self.paths.append,
            self.errors.append,
        )
        self.until(lambda: not self.watcher._todo)

    def until(self, condition) -> None:
        paths = lambda: f"{self.paths} {self.errors}"  # noqa: E731
        wait_until(condition, paths, step=lambda: self.loop.turn(0.05))

    def next(self) -> str:
        """The next burst's first path."""
        before = len(self.paths)
        self.until(lambda: len(self.paths) > before)
        assert self.errors == []
        return self.paths[-1]

    def nothing_before(self, marker: Path) -> None:
        """What was done so far is no change: the next to be told is `marker`."""
        before = len(self.paths)
        marker.write_text("x")
        self.until(lambda: len(self.paths) > before)
        assert [os.path.basename(path) for path in self.paths[before:]] == [marker.name]


@pytest.fixture
def watched(tmp_path):
    opened: list[Watched] = []

    def make(*roots: str, ignore: tuple[str, ...] = ()) -> Watched:
        opened.append(Watched(tmp_path, *roots, ignore=ignore))
        return opened[-1]

    yield make
    for each in opened:
        each.watcher.close()
        each.loop.close()


def test_a_written_file_is_told_once(watched, tmp_path) -> None:
    (tmp_path / "a.js").write_text("1")
    it = watched()
    for n in range(50):
        (tmp_path / "a.js").write_text(str(n))
    assert it.next() == str(tmp_path / "a.js")
    it.nothing_before(tmp_path / "end.js")


def test_saving_by_renaming_is_a_change(watched, tmp_path) -> None:
    (tmp_path / "a.js").write_text("1")
    it = watched(ignore=("*.swp",))
    (tmp_path / "a.js.swp").write_text("2")
    (tmp_path / "a.js.swp").rename(tmp_path / "a.js")
    assert it.next() == str(tmp_path / "a.js")


def save_as_sed(file: Path, text: str) -> None:
    """Also vim with `backupcopy=no` and most that write "safely"."""
    new = file.with_name("sedXyZ123")
    new.write_text(text)
    new.rename(file)


def save_as_vim(file: Path, text: str) -> None:
    probe, backup = file.with_name("4913"), file.with_name(file.name + "~")
    probe.touch()
    probe.unlink()
    file.rename(backup)
    file.write_text(text)
    backup.unlink()


def save_as_jetbrains(file: Path, text: str) -> None:
    new, old = (file.with_name(f"{file.name}___jb_{word}___") for word in ("tmp", "old"))
    new.write_text(text)
    file.rename(old)
    new.rename(file)
    old.unlink()


def save_in_place(file: Path, text: str) -> None:
    """VS Code, nano."""
    file.write_text(text)


@pytest.mark.parametrize("save", [save_as_sed, save_as_vim, save_as_jetbrains, save_in_place])
@pytest.mark.parametrize("ignore", [(), ("src",)])
def test_however_editors_save_it_is_told_once_and_by_its_name(
    watched, tmp_path, save, ignore
) -> None:
    file = tmp_path / "a.js"
    file.write_text("1")
    it = watched(ignore=ignore)
    save(file, "2")
    assert it.next() == str(file)
    save(file, "3")
    assert it.next() == str(file)
    it.nothing_before(tmp_path / "end.js")


def test_opening_a_file_in_an_editor_is_no_change(watched, tmp_path) -> None:
    folder = tmp_path / "lib"
    folder.mkdir()
    it = watched(ignore=("src",))
    (folder / ".a.js.swp").write_text("vim")
    (folder / ".a.js.swx").write_text("vim")
    (folder / ".a.js.swx").unlink()
    it.nothing_before(tmp_path / "end.js")


def test_a_file_that_comes_and_goes_is_no_change(watched, tmp_path) -> None:
    it = watched()
    for number in range(3):
        (tmp_path / f"tmp{number}").write_text("1")
        (tmp_path / f"tmp{number}").unlink()
    it.nothing_before(tmp_path / "end.js")


def test_a_folder_that_comes_and_goes_with_all_that_is_in_it_is_no_change(
    watched, tmp_path
) -> None:
    it = watched()
    before = it.watcher.folders
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "a").write_text("1")
    # It is walked, and its files are seen, before it goes.
    it.until(lambda: it.watcher.folders == before + 1)
    shutil.rmtree(tmp_path / "tmp")
    it.until(lambda: not it.watcher._noted)  # the burst is over
    assert it.paths == []


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_a_file_that_was_opened_for_writing_and_not_written_is_no_change(
    watched, tmp_path, what
) -> None:
    """SQLite does so for each connection; a worker's death closes all of its files."""
    (tmp_path / "far").mkdir()
    base = tmp_path / "root"
    base.mkdir()
    file = tmp_path / "far" / "app.db" if what == "link" else base / "app.db"
    file.write_text("1")
    if what == "link":
        (base / "app.db").symlink_to(file)
    it = watched(
        *((str(base / "app.db"), str(base / "end.js")) if what == "file" else (str(base),))
    )
    file.write_text("2")
    assert it.next() == str(base / "app.db")
    for _ in range(3):
        os.close(os.open(file, os.O_RDWR))
    it.nothing_before(base / "end.js")
    with open(file, "r+") as opened:
        opened.write("3")
    assert it.next() == str(base / "app.db")


def test_touching_a_file_is_a_change_and_chmod_is_none(watched, tmp_path) -> None:
    for name in ("a.js", "b.js"):
        (tmp_path / name).write_text("1")
    it = watched()
    os.chmod(tmp_path / "b.js", 0o600)
    os.utime(tmp_path / "b.js", (1, 1))
    os.chmod(tmp_path, 0o700)
    os.utime(tmp_path)
    it.nothing_before(tmp_path / "end.js")
    os.utime(tmp_path / "a.js")  # without opening it, as BusyBox
    assert it.next() == str(tmp_path / "a.js")
    subprocess.run(["touch", tmp_path / "b.js"], check=True)
    assert it.next() == str(tmp_path / "b.js")


def test_deleting_is_a_change(watched, tmp_path) -> None:
    (tmp_path / "a.js").write_text("1")
    it = watched()
    (tmp_path / "a.js").unlink()
    assert it.next() == str(tmp_path / "a.js")


def test_new_folders_are_watched_with_all_that_came_in_them(watched, tmp_path) -> None:
    it = watched()
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    it.next()
    it.until(lambda: not it.watcher._todo and it.watcher.folders >= 5)
    it.paths.clear()
    (deep / "x.js").write_text("1")
    assert it.next() == str(deep / "x.js")


def test_a_folder_moved_in_is_watched_and_one_moved_out_is_not(watched, tmp_path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    (outside / "sub").mkdir(parents=True)
    it = watched(str(inside))
    (outside / "sub").rename(inside / "sub")
    it.next()
    it.until(lambda: not it.watcher._todo)
    (inside / "sub" / "x.js").write_text("1")
    assert it.next() == str(inside / "sub" / "x.js")
    (inside / "sub").rename(outside / "sub")
    it.next()
    (outside / "sub" / "x.js").write_text("2")
    it.nothing_before(inside / "end.js")


def test_ignored_files_and_folders_are_no_change(watched, tmp_path) -> None:
    (tmp_path / "node_modules" / "x").mkdir(parents=True)
    it = watched()
    (tmp_path / "node_modules" / "x" / "a.js").write_text("1")
    (tmp_path / ".hidden").write_text("1")
    it.nothing_before(tmp_path / "end.js")


def test_a_root_deleted_and_made_again_is_watched_again(watched, tmp_path) -> None:
    root = tmp_path / "app" / "src"
    root.mkdir(parents=True)
    it = watched(str(root))
    shutil.rmtree(tmp_path / "app")
    it.next()
    root.mkdir(parents=True)
    it.next()
    it.until(lambda: not it.watcher._todo)
    (root / "x.js").write_text("1")
    assert it.next() == str(root / "x.js")


def test_a_root_that_is_not_there_yet_is_waited_for(watched, tmp_path) -> None:
    root = tmp_path / "later" / "src"
    it = watched(str(root))
    root.mkdir(parents=True)
    it.next()


def test_a_single_file_is_watched_through_its_folder(watched, tmp_path) -> None:
    one = tmp_path / "one.yaml"
    one.write_text("1")
    it = watched(str(one))
    (tmp_path / "other.yaml").write_text("1")
    new = tmp_path / "one.tmp"
    new.write_text("2")
    new.rename(one)
    assert it.next() == str(one)
    (tmp_path / "other.yaml").write_text("2")
    one.write_text("3")
    assert it.next() == str(one)
    assert set(it.paths) == {str(one)}


def configmap(folder: Path, version: str, text: str | None = None) -> None:
    """Write `folder` as the kubelet writes a ConfigMap volume (AtomicWriter)."""
    data = folder / f"..{version}"
    data.mkdir(parents=True)
    (data / "app.yaml").write_text(text or version)
    if not (folder / "app.yaml").is_symlink():
        (folder / "app.yaml").symlink_to("..data/app.yaml")
    (folder / "..data_tmp").symlink_to(f"..{version}")
    (folder / "..data_tmp").rename(folder / "..data")


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_configmap_swap_is_a_change(watched, tmp_path, what) -> None:
    mount = tmp_path / "config"
    configmap(mount, "2026_01_01")
    it = watched(str(mount if what == "folder" else mount / "app.yaml"))
    for version in ("2026_01_02", "2026_01_03"):
        configmap(mount, version)
        assert it.next() == str(mount / "app.yaml")


@pytest.mark.parametrize("what", ["current", "current/src"])
def test_a_release_is_changed_by_its_link(watched, tmp_path, what) -> None:
    """`ln -sfn releases/2 current`, as Capistrano and its like do it."""
    for release in ("1", "2", "3"):
        (tmp_path / "releases" / release / "src").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1")
    it = watched(str(tmp_path / what))
    for release in ("2", "3"):
        (tmp_path / "new").symlink_to(f"releases/{release}")
        (tmp_path / "new").rename(tmp_path / "current")
        it.next()
        it.until(lambda: not it.watcher._todo)
        (tmp_path / "releases" / release / "src" / "a.js").write_text("1")
        assert it.next() == str(tmp_path / what / ("src/a.js" if what == "current" else "a.js"))
    # What was left is not watched any more.
    (tmp_path / "releases" / "1" / "src" / "old.js").write_text("1")
    it.nothing_before(tmp_path / what / "end.js")


def test_a_folder_that_another_one_takes_the_place_of(watched, tmp_path) -> None:
    """`mv app old; mv new app`"""
    for name in ("app", "new"):
        (tmp_path / name / "src").mkdir(parents=True)
    it = watched(str(tmp_path / "app" / "src"))
    (tmp_path / "app").rename(tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "app")
    it.next()
    it.until(lambda: not it.watcher._todo)
    (tmp_path / "app" / "src" / "a.js").write_text("1")
    assert it.next() == str(tmp_path / "app" / "src" / "a.js")
    (tmp_path / "old" / "src" / "a.js").write_text("1")
    it.nothing_before(tmp_path / "app" / "src" / "end.js")


def test_links_to_folders_are_followed_and_cycles_end(watched, tmp_path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(real)
    (root / "up").symlink_to(root)
    it = watched(str(root))
    (real / "x.js").write_text("1")
    assert it.next() == str(root / "link" / "x.js")


def test_a_link_to_a_file_elsewhere_is_followed(watched, tmp_path) -> None:
    """As an app's settings often lie: in a volume, with a link in the app's folder."""
    volume, root = tmp_path / "volume", tmp_path / "root"
    volume.mkdir()
    root.mkdir()
    (volume / "settings.json").write_text("1")
    (volume / "another.json").write_text("1")
    (tmp_path / "hop").symlink_to("volume/settings.json")
    (root / "settings.json").symlink_to("../hop")
    it = watched(str(root))
    (volume / "another.json").write_text("2")
    it.nothing_before(root / "marker.js")
    (volume / "settings.json").write_text("2")
    assert it.next() == str(root / "settings.json")
    save_as_sed(volume / "settings.json", "3")
    assert it.next() == str(root / "settings.json")
    # The link in the middle leads elsewhere from now on.
    (tmp_path / "hop.new").symlink_to("volume/another.json")
    (tmp_path / "hop.new").rename(tmp_path / "hop")
    assert it.next() == str(root / "settings.json")
    (volume / "another.json").write_text("3")
    assert it.next() == str(root / "settings.json")


def test_a_link_that_appears_later_is_followed(watched, tmp_path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "real.js").write_text("1")
    it = watched(str(root))
    (root / "a.js").symlink_to("../real.js")
    assert it.next() == str(root / "a.js")
    (tmp_path / "real.js").write_text("2")
    assert it.next() == str(root / "a.js")


def test_a_link_that_leads_nowhere_hides_nothing_beside_it(watched, tmp_path) -> None:
    """A circle raises ELOOP in stat(2); so does EACCES what lies in a folder closed to us."""
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "gone").symlink_to("nothing/at/all")
    (tmp_path / "lib").mkdir()
    it = watched()
    assert it.errors == []
    (tmp_path / "lib" / "a.js").write_text("1")
    assert it.next() == str(tmp_path / "lib" / "a.js")


def test_a_folder_that_is_gone_before_it_is_watched_is_no_error(
    watched, tmp_path, monkeypatch
) -> None:
    from entrypoint.kernel.inotify import Inotify

    real = Inotify.add

    def raced(self, path):
        if path.endswith(b"/tmp123"):
            os.rmdir(path)
        return real(self, path)

    monkeypatch.setattr(Inotify, "add", raced)
    it = watched()
    (tmp_path / "tmp123").mkdir()
    it.until(lambda: not (tmp_path / "tmp123").exists())
    it.nothing_before(tmp_path / "end.js")
    assert it.errors == []


def rename(source: Path, target: Path) -> None:
    source.rename(target)


def rebuild(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


@pytest.mark.parametrize("link", ["lib", "settings.json"])
@pytest.mark.parametrize("put", [rename, rebuild])
def test_what_a_link_leads_to_may_go_and_come_back(watched, tmp_path, link, put) -> None:
    """`packages/ui -> ../../ui/dist`, and `rm -rf dist` is how a build begins."""
    root, dist, new = tmp_path / "root", tmp_path / "dist", tmp_path / "new"
    for folder in (root, dist, new):
        folder.mkdir()
    for folder in (dist, new):
        (folder / "settings.json").write_text("1")
    (root / link).symlink_to("../dist" if link == "lib" else "../dist/settings.json")
    seen = root / "lib" / "settings.json" if link == "lib" else root / link
    it = watched(str(root))
    (dist / "settings.json").unlink()
    it.next()
    put(dist, tmp_path / "old")
    shutil.rmtree(dist, ignore_errors=True)
    it.next()
    put(new, dist)
    it.next()
    it.until(lambda: not it.watcher._todo)
    (dist / "settings.json").write_text("2")
    assert it.next() == str(seen)


def test_a_link_to_a_folder_that_is_not_there_yet(watched, tmp_path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "lib").symlink_to("../dist")
    it = watched(str(root))
    (tmp_path / "dist" / "deep").mkdir(parents=True)
    it.next()
    it.until(lambda: not it.watcher._todo)
    (tmp_path / "dist" / "deep" / "a.js").write_text("1")
    assert it.next() == str(root / "lib" / "deep" / "a.js")


def test_a_link_that_is_removed_takes_its_folder_along_but_none_of_the_tree(
    watched, tmp_path
) -> None:
    """Capistrano's `current` and its `releases` in one watched folder."""
    root, far = tmp_path / "root", tmp_path / "far"
    for folder in (root / "releases" / "1", root / "releases" / "2", far):
        folder.mkdir(parents=True)
    (root / "current").symlink_to("releases/1")
    (root / "far").symlink_to("../far")
    it = watched(str(root))
    (root / "new").symlink_to("releases/2")
    (root / "new").rename(root / "current")
    it.next()
    (root / "far").unlink()
    it.next()
    it.until(lambda: not it.watcher._todo)
    (far / "a.js").write_text("1")
    it.nothing_before(root / "end.js")
    for release in ("1", "2"):
        (root / "releases" / release / "a.js").write_text("1")
        assert it.next() == str(root / "releases" / release / "a.js")


def test_a_link_to_a_device_is_not_followed(watched, tmp_path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    it = watched()
    Path("/dev/null").write_text("x")
    it.nothing_before(tmp_path / "end.js")


def test_the_file_itself_may_be_a_link_into_a_configmap(watched, tmp_path) -> None:
    mount = tmp_path / "config"
    configmap(mount, "2026_01_01")
    one = tmp_path / "ecosystem.yaml"
    one.symlink_to("config/app.yaml")
    it = watched(str(one))
    for version in ("2026_01_02", "2026_01_03"):
        configmap(mount, version)
        it.next()
        assert one.read_text() == version


@pytest.mark.skipif(os.geteuid() != 0, reason="mount(2) needs root")
def test_a_single_file_that_is_mounted_is_seen_when_it_is_written_outside(
    watched, tmp_path
) -> None:
    """`docker run -v ./app.yaml:/app/app.yaml`: its folder hears nothing of that."""
    host, box = tmp_path / "host.yaml", tmp_path / "box"
    box.mkdir()
    host.write_text("1")
    (box / "app.yaml").touch()
    subprocess.run(["mount", "--bind", host, box / "app.yaml"], check=True)
    try:
        it = watched(str(box / "app.yaml"))
        for text in ("2", "3"):
            host.write_text(text)
            assert it.next() == str(box / "app.yaml")
    finally:
        subprocess.run(["umount", box / "app.yaml"], check=True)


def test_names_that_are_not_utf8(watched, tmp_path) -> None:
    it = watched()
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(name)
    it.next()
    it.until(lambda: not it.watcher._todo)
    with open(name + b"/\x80.js", "wb"):
        pass
    assert os.fsencode(it.next()) == name + b"/\x80.js"


def test_an_overflow_of_the_queue_is_a_change_and_everything_is_watched_after_it(
    watched, tmp_path
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    it = watched()
    files = [tmp_path / "a.js", tmp_path / "b.js"]
    # Alternating, for the kernel merges equal events that follow each other.
    for n in range(limit // 2 + 100):
        os.close(os.open(files[n % 2], os.O_CREAT | os.O_WRONLY))
        os.unlink(files[n % 2])
    (tmp_path / "new").mkdir()
    it.next()
    it.until(lambda: not it.watcher._todo and it.watcher.folders >= 3)
    it.paths.clear()
    (tmp_path / "new" / "x.js").write_text("1")
    it.until(lambda: str(tmp_path / "new" / "x.js") in it.paths)


def test_a_folder_made_anew_during_an_overflow_is_watched(watched, tmp_path) -> None:
    """That the watch of the old one ended is among what is lost."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (tmp_path / "dist").mkdir()
    it = watched()
    files = [tmp_path / "a.js", tmp_path / "b.js"]
    for n in range(limit // 2 + 100):
        os.close(os.open(files[n % 2], os.O_CREAT | os.O_WRONLY))
        os.unlink(files[n % 2])
    (tmp_path / "dist").rmdir()
    (tmp_path / "dist").mkdir()
    it.next()
    it.until(lambda: not it.watcher._todo)
    (tmp_path / "dist" / "x.js").write_text("1")
    it.until(lambda: str(tmp_path / "dist" / "x.js") in it.paths)


def test_ten_thousand_folders_are_walked_in_slices(watched, tmp_path) -> None:
    for a in range(100):
        for b in range(100):
            (tmp_path / f"{a}" / f"{b}").mkdir(parents=True)
    loop_turns = 0
    it = Watched.__new__(Watched)
    it.errors, it.paths = [], []
    it.loop = Loop(lambda where, error: it.errors.append(f"{where}: {error!r}"))
    it.watcher = Watcher(
        it.loop, (str(tmp_path),), ignorer((), str(tmp_path)), it.paths.append, it.errors.append
    )
    while it.watcher._todo:
        it.loop.turn(0)
        loop_turns += 1
    assert loop_turns > 50
    assert it.watcher.folders > 10_000
    (tmp_path / "99" / "99" / "x.js").write_text("1")
    assert it.next() == str(tmp_path / "99" / "99" / "x.js")
    it.watcher.close()
    it.loop.close()


def test_a_deleted_tree_costs_its_size_and_not_its_square(watched, tmp_path, monkeypatch) -> None:
    """`rm -rf dist`, while PID 1 answers probes."""
    for a in range(30):
        for b in range(9):
            (tmp_path / "dist" / f"{a}" / f"{b}").mkdir(parents=True)
    it = watched()
    looks = [0]

    def counted(real):
        def call(*args, **named):
            looks[0] += 1
            return real(*args, **named)

        return call

    subprocess.run(["rm", "-rf", tmp_path / "dist"], check=True)
    for name in ("stat", "lstat", "scandir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    it.next()
    it.until(lambda: not it.watcher._todo)
    assert looks[0] < 300
    it.nothing_before(tmp_path / "end.js")


def test_the_limit_of_watches_is_named(watched, tmp_path, monkeypatch) -> None:
    import errno

    from entrypoint.kernel.inotify import Inotify, WatchLimitError

    real = Inotify.add
    count = [0]

    def limited(self, path):
        count[0] += 1
        if count[0] > 3:
            raise WatchLimitError(errno.ENOSPC, "raise fs.inotify.max_user_watches on the host")
        return real(self, path)

    monkeypatch.setattr(Inotify, "add", limited)
    for n in range(5):
        (tmp_path / f"{n}").mkdir()
    it = watched()
    assert len(it.errors) == 1
    assert "fs.inotify.max_user_watches" in it.errors[0]


def test_the_package_is_imported_without_threads_and_subprocesses() -> None:
    code = (
        "import sys; from entrypoint.kernel.inotify import Inotify; it = Inotify(); "
        "print([m for m in ('subprocess', 'threading', 'logging', 'asyncio') "
        "if m in sys.modules], it.add(b'/'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("]")[0] == "["


@pytest.mark.parametrize("package", ["installed", "missing"])
def test_the_calls_are_the_packages_or_our_own(tmp_path, monkeypatch, package):
    if package == "missing":  # as in the packages' program
        for name in ("inotify", "inotify.calls", "inotify.constants"):
            monkeypatch.setitem(sys.modules, name, None)
    watch = inotify.Inotify()
    try:
        own = watch._calls.__name__ == "entrypoint.kernel.inotify_calls"
        assert own == (package == "missing")
        wd = watch.add(os.fsencode(tmp_path))
        (tmp_path / "new").mkdir()
        [paths] = watch.read()
        assert (paths.wd, paths.name) == (wd, b"new")
        assert paths.mask == watch.flags.IN_CREATE | watch.flags.IN_ISDIR
        with pytest.raises(FileNotFoundError):
            watch.add(b"/nowhere/at/all")
        watch.remove(wd)
        [paths] = watch.read()
        assert paths.mask == watch.flags.IN_IGNORED
        watch.remove(wd)
    finally:
        watch.close()


def test_our_own_constants_are_those_of_the_package():
    from inotify import constants

    own = {name: value for name, value in vars(inotify_calls).items() if name.startswith("IN_")}
    assert len(own) == 12
    assert {name: getattr(constants, name) for name in own} == own

"""What may be an image, and how one is told from another."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from khala.model.errors import Rejected
from khala.model.limits import IMAGES_MAX
from sandbox.images import ImageSource, look, resolve_images


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "debian = 12"
    (top / "usr").mkdir(parents=True)
    (top / "usr" / "gcc").write_bytes(b"program")
    return top


def squashfs(path: Path, *, made: int = 1, tables: bytes = b"tables") -> Path:
    """The parts that are looked at: the superblock, and what lies behind the data."""
    data = b"data"
    begin = 96 + len(data)
    head = struct.pack("<4sII", b"hsqs", 1, made) + bytes(28)
    head += struct.pack("<Q", begin + len(tables)) + bytes(16) + struct.pack("<Q", begin)
    path.write_bytes(head.ljust(96, b"\0") + data + tables)
    return path


def test_a_directory_or_a_file_is_named(tree: Path, tmp_path: Path) -> None:
    file = squashfs(tmp_path / "gcc.squashfs")
    (tmp_path / "link").symlink_to(tree)
    assert resolve_images([f"debian={tree}", f"gcc-13={file}", f"alias={tmp_path}/link"]) == (
        ImageSource(name="debian", path=str(tree), is_file=False),
        ImageSource(name="gcc-13", path=str(file), is_file=True),
        ImageSource(name="alias", path=str(tree), is_file=False),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("debian", "debian: NAME=PATH with an absolute path, such as debian-12=/srv/debian-12"),
        ("debian=srv", "NAME=PATH with an absolute path"),
        ("=/srv", "a name has 1 to 63 letters"),
        ("a b=/srv", "a name has 1 to 63 letters, digits, '.', '_' or '-' and starts with"),
        ("-a=/srv", "starts with a letter or digit; '-a' does not"),
        (f"{'a' * 64}=/srv", "a name has 1 to 63 letters"),
        ("x=/nonexistent", "x=/nonexistent: No such file or directory; name a directory or a sq"),
        ("x=/", "that is this host itself, whose programs need no image"),
        ("x=/dev/null", "neither a directory nor a squashfs file"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(Rejected) as refused:
        resolve_images([text])
    assert why in refused.value.message
    assert refused.value.message.startswith("--image: ")
    assert refused.value.field == "--image"


def test_one_name_for_two_images_is_refused(tree: Path) -> None:
    with pytest.raises(Rejected, match="debian is the name of two images"):
        resolve_images([f"debian={tree}", f"debian={tree}/usr"])


def test_images_are_bounded(tree: Path) -> None:
    texts = [f"i{number}={tree}" for number in range(IMAGES_MAX + 1)]
    assert len(resolve_images(texts[1:])) == IMAGES_MAX
    with pytest.raises(Rejected, match=f"at most {IMAGES_MAX} images; {IMAGES_MAX + 1} were given"):
        resolve_images(texts)


def test_a_file_is_known_by_its_superblock_and_tables(tmp_path: Path) -> None:
    files = [
        squashfs(tmp_path / "a"),
        squashfs(tmp_path / "b", made=2),
        squashfs(tmp_path / "c", tables=b"others"),
        squashfs(tmp_path / "d"),
    ]
    seen = [look(ImageSource(name="x", path=str(file), is_file=True)) for file in files]
    assert seen[0] == seen[3]
    assert len({each.identity for each in seen}) == 3
    assert seen[0].size_bytes == files[0].stat().st_size


def test_a_file_cut_short_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    short = squashfs(tmp_path / "short")
    short.write_bytes(short.read_bytes()[:-3])
    with pytest.raises(Rejected, match="cut short: 103 of 106 bytes; copy it again"):
        look(ImageSource(name="x", path=str(short), is_file=True))
    (tmp_path / "zip").write_bytes(b"PK" * 100)
    with pytest.raises(Rejected, match="not a squashfs file; make one with: mksquashfs DIR"):
        look(ImageSource(name="x", path=str(tmp_path / "zip"), is_file=True))


def test_a_directory_is_known_by_its_files(tree: Path) -> None:
    image = ImageSource(name="x", path=str(tree), is_file=False)
    before = look(image)
    assert before.size_bytes == len(b"program")
    (tree / "usr" / "g++").touch()
    assert look(image).identity != before.identity

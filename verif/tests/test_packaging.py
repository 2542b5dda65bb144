"""What installs the package: bounds of its dependencies, and a checkout that is none."""

import importlib.util
import sys
import tomllib
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())


@pytest.mark.parametrize(
    ("name", "works", "broken"),
    [("typer", ["0.17.5", "0.20.0"], ["0.15.0", "0.15.4", "0.17.0", "0.17.3", "1.0"])],
)
def test_bounds_leave_out_what_does_not_work(name, works, broken):
    """0.15 breaks with the click of today, 0.17.0 to 0.17.3 with its own import of rich."""
    found = {r.name: r.specifier for r in map(Requirement, PROJECT["project"]["dependencies"])}
    assert [version for version in works if version not in found[name]] == []
    assert [version for version in broken if version in found[name]] == []


class _Hook:
    def __init__(self, root):
        self.root = root


@pytest.fixture
def hook(monkeypatch):
    """Return the class of the build's hook, also where hatchling is not installed."""
    interface = "hatchling.builders.hooks.plugin.interface"
    module = types.ModuleType(interface)
    module.BuildHookInterface = _Hook
    monkeypatch.setitem(sys.modules, interface, module)
    spec = importlib.util.spec_from_file_location("hatch_build", "hatch_build.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.LinkedRooms


def test_the_build_refuses_a_checkout_without_links(tmp_path, hook):
    package = tmp_path / ".dev" / "tilewright"
    package.mkdir(parents=True)
    links = [path for path in Path(".dev/tilewright").iterdir() if path.is_symlink()]
    assert len(links) == 5
    for link in links:
        (tmp_path / link.name).mkdir()
        (package / link.name).symlink_to(link.readlink())
    hook(str(tmp_path)).initialize("standard", {})
    for link in links:
        own = package / link.name
        own.unlink()
        own.write_text(str(link.readlink()))
        with pytest.raises(SystemExit, match=f"tilewright/{link.name} is no folder.*core.symlinks"):
            hook(str(tmp_path)).initialize("standard", {})
        own.unlink()
        own.symlink_to(link.readlink())


def test_the_build_has_its_hook():
    build = PROJECT["tool"]["hatch"]["build"]
    assert build["hooks"] == {"custom": {}}
    assert "hatch_build.py" in build["targets"]["sdist"]["only-include"]

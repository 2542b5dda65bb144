"""Configurations take what fits, from NumPy too, and refuse all else with one sentence."""

import contextlib
import dataclasses
import tomllib

import numpy as np
import pytest

from tilewright.gen.configuration import configure, derived, dump, fields_of, parameters
from tilewright.gen.registry import UNITS, families, load
from tilewright.hw.config import ConfigError, check_choice, check_range, check_width
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.kv.config import KvConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.engine import Engine

ODD = (
    None, "x", "", float("nan"), -1, 2.0, True, [], [1], {}, (1, 2), object(), np.float64(2),
    np.array([1, 2]), np.int64(-5), "8", 10**30,
)  # fmt: skip


def settable(config):
    """Return the fields of a configuration that hold no configuration, by name."""
    found = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}
    return {name: v for name, v in found.items() if not dataclasses.is_dataclass(v)}


def test_only_families_are_datapaths():
    assert set(families()) >= {"systolic", "term", "serial", "packed", "nm"}
    for name in ("kv", "kv_storage", "engine", "requantise", "attention", "packed_chain"):
        with pytest.raises(ConfigError, match=f"^there is no datapath family '{name}' .*term"):
            configure("engine", settings=[f"datapath.family={name}"])


@pytest.mark.parametrize("name", ["kv", "engine", None, 5, ["systolic"], "", "sistolic"])
def test_engine_refuses_what_is_no_family(name):
    with pytest.raises(ConfigError, match=r"^there is no datapath family .* \(families: systolic"):
        Engine(name)


@pytest.mark.parametrize("datapath", [None, "systolic", 3, SystolicConfig, KvConfig()])
def test_engine_configuration_needs_a_datapath(datapath):
    with pytest.raises(ConfigError, match="^datapath must be the configuration of a datapath fam"):
        EngineConfig(datapath=datapath)


@pytest.mark.parametrize("unit", UNITS)
def test_numpy_fields_are_plain_ones(unit):
    """A width that stayed NumPy's would wrap, and differ in what is written of it."""
    plain = configure(unit)
    made = {bool: np.bool_, int: np.int16, tuple: list, str: np.str_}
    fields = {
        name: made[type(value)](value) for name, value in settable(plain).items()
        if not (type(value) is int and value > 32767)
    }  # fmt: skip
    found = dataclasses.replace(plain, **fields)
    assert found == plain
    assert hash(found) == hash(plain)
    assert [name for name in fields if type(getattr(found, name)) not in made] == []


@pytest.mark.parametrize("unit", UNITS)
def test_odd_fields_are_refused(unit):
    plain = configure(unit)
    for name, value in settable(plain).items():
        for odd in ODD:
            with contextlib.suppress(ConfigError):
                found = dataclasses.replace(plain, **{name: odd})
                assert type(getattr(found, name)) is type(value), (name, odd)


def test_checks_return_plain_values():
    found = (check_range("n", np.int8(5), 0, 5), check_choice("n", np.int64(4), (2, 4)))
    assert found == (5, 4)
    assert list(map(type, found)) == [int, int]
    check_width("bits", np.int64(16))
    for odd in (True, np.bool_(1), 5.0, np.float32(5), "5", None, np.array([5])):
        for check, limits in ((check_range, (0, 9)), (check_choice, ((5, 1),)), (check_width, ())):
            with pytest.raises(ConfigError, match="^n must be "):
                check("n", odd, *limits)
    for low, high in ((6, 9), (0, 4)):
        with pytest.raises(ConfigError, match=f"from {low} to {high}, not 5"):
            check_range("n", 5, low, high)


MODES = {
    "term": ("data_terms", 2, {"data_terms": 2}),
    "serial": ("x_bits", 4, {}),
    "packed": ("channels", 2, {}),
    "nm": ("sparse", 1, {}),
}


@pytest.mark.parametrize("family", MODES)
def test_settings_of_a_product_are_integers(family):
    name, value, fields = MODES[family]
    config = load(UNITS[family].config)(**fields)
    asked = {name: value} | ({"w_bits": value} if family == "serial" else {})
    word = config.mode_word(**asked)
    assert word == config.mode_word(**{key: np.int64(v) for key, v in asked.items()})
    assert type(word) is int
    for odd in (value + 0.5, str(value), None, True):
        with pytest.raises(ConfigError, match=f"^{name} must be "):
            config.mode_word(**asked | {name: odd})


@pytest.mark.parametrize("settings", [
    ("datapath=nm", "datapath.rows=4"),
    ("datapath.rows=4", "datapath=nm"),
    ("datapath.family=nm", "datapath={rows=4}"),
    ("datapath={rows=4}", "datapath={}", "datapath=nm"),
])  # fmt: skip
def test_family_and_fields_come_in_any_order(settings):
    found = configure("engine", settings=settings).datapath
    assert (found.family, found.rows) == ("nm", 4)


def test_a_family_keeps_the_fields_that_came_before(tmp_path):
    file = tmp_path / "engine.toml"
    file.write_text("acc_depth = 64\n[datapath]\nrows = 6\ncols = 5\n")
    found = configure("engine", preset="tiny", file=file, settings=["datapath=nm"])
    assert (found.datapath.family, found.datapath.rows, found.datapath.cols) == ("nm", 6, 5)
    assert (found.acc_depth, found.act_depth) == (64, 64)


@pytest.mark.parametrize(("settings", "sentence"), [
    (("rows=4", "rows=8"), "rows is set twice, to 4 and to 8"),
    (("rows=4", "rows=4"), "rows is set twice"),
    (("rows=4#8",), "rows must be an integer, not '4#8'"),
    (("rows=4 # 8",), "rows must be an integer, not '4 # 8'"),
    (("rows=4,",), "rows must be an integer, not '4,'"),
    (("rows=4\ncols=2",), "rows must be an integer, not '4"),
    (("rows=4\nagain=[1]\nv=[2",), "rows must be an integer, not '4"),
    (("rows=",), "rows must be an integer, not ''"),
    (("rows=nan",), "rows must be an integer, not nan"),
    (("rows.deep=4",), "rows must be an integer, not {'deep': 4}"),
    (("rows.deep=4", "rows=4"), "rows must be a table of fields, not 4"),
    (("rows=4", "rows.deep=4"), "rows has no fields, so that rows.deep cannot be set"),
    (("rows={}",), "rows must be an integer, not {}"),
    (("=4",), "a setting is key=value"),
])  # fmt: skip
def test_no_setting_is_read_over(settings, sentence):
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        configure("systolic", settings=settings)


@pytest.mark.parametrize(("settings", "sentence"), [
    (("datapath=nm", "datapath.family=packed"), "datapath.family is set twice, to 'nm' and to 'p"),
    (("datapath.rows=4", "datapath={rows=8}"), "datapath.rows is set twice"),
    (("datapath=5",), "datapath must be a table of fields, not 5"),
    (("datapath=5", "datapath.rows=4"), "datapath has no fields"),
    (("datapath.family.name=5",), "there is no datapath family {'name': 5}"),
])  # fmt: skip
def test_no_nested_setting_is_read_over(settings, sentence):
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        configure("engine", settings=settings)


def test_an_empty_preset_is_none():
    with pytest.raises(ConfigError, match=r"^systolic has no preset ''"):
        configure("systolic", preset="")


@dataclasses.dataclass(frozen=True)
class Inner:
    """Parameters of a part.

    Attributes
    ----------
    depth : int
        How deep
        it is.
    """

    depth: int = 3


@dataclasses.dataclass(frozen=True)
class Odd:
    """A configuration with every kind of field.

    Attributes
    ----------
    first, second : int
        Of two things.
    text : str
        Its name.
    """

    first: int
    text: str
    ratio: float = 0.5
    flags: tuple[bool, ...] = (True, False)
    second: int | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)
    made: int = dataclasses.field(init=False, default=7)

    @property
    def area(self) -> tuple[int, None]:
        return (6, None)

    @property
    def part(self) -> tuple[int, Inner]:
        return (6, self.inner)

    @property
    def _hidden(self) -> int:
        return 6


def test_what_is_written_of_a_configuration_says_the_same_when_it_is_read():
    odd = Odd(4, 'C:\\new "x"')
    written = tomllib.loads(dump(odd, "odd"))
    assert written == {
        "unit": "odd", "first": 4, "text": 'C:\\new "x"', "ratio": 0.5, "flags": [True, False],
        "inner": {"depth": 3},
    }  # fmt: skip
    assert {"unit": "odd"} | {k: v for k, v in fields_of(odd).items() if v is not None} == written
    assert derived(odd) == {"area": [6, None]}


def test_parameters_are_told_with_default_value_and_meaning():
    told = [(p.name, p.default, p.value, p.doc) for p in parameters(Odd(4, "x", second=5))]
    assert told[:2] == [("first", None, 4, "Of two things."), ("text", None, "x", "Its name.")]
    assert ("second", None, 5, "Of two things.") in told
    assert told[-1] == ("inner.depth", 3, 3, "How deep it is.")


def test_files_go_before_presets_and_settings_before_files(tmp_path):
    file = tmp_path / "systolic.toml"
    file.write_text("rows = 6\n")
    found = configure("systolic", preset="tiny", file=file)
    assert (found.rows, found.cols) == (6, configure("systolic", preset="tiny").cols)
    assert configure("systolic", file=file, settings=["rows=7"]).rows == 7
    pe = configure("systolic", settings=['pe=["DL", "LD"]', "rows=2", "cols=2"]).pe
    assert pe == ("DL", "LD")

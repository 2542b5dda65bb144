"""The table of units: one row says where every part of a unit is found."""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..hw.config import ConfigError
from .unit import Mutation, Unit

__all__ = ["DEFAULT_FAMILY", "INTERNAL", "UNITS", "families", "find_family", "find_unit", "load"]

_PACKAGE = __name__.rsplit(".", 2)[0]


def load(path: str) -> Any:
    """Import ``room.module`` or ``room.module:name``, both relative to the package."""
    module, _, name = path.partition(":")
    found = importlib.import_module(f"{_PACKAGE}.{module}")
    return getattr(found, name) if name else found


UNITS: dict[str, Unit] = {
    "systolic": Unit(
        summary="Dense systolic array, weight- or output-stationary, PEs from DSPs or LUTs",
        config="hw.systolic.config:SystolicConfig",
        component="hw.systolic.array:SystolicArray",
        presets={
            "default": {},
            "tiny": {"rows": 2, "cols": 2},
            "os": {"rows": 4, "cols": 4, "dataflow": "os"},
        },
        family="sw.families.systolic:Systolic",
        golden="verif.golden.systolic:systolic",
        testbench="verif.testbench.systolic",
        formal="verif.formal.systolic",
        docs="docs/units/systolic.md",
        paper="H. T. Kung, Why Systolic Architectures?, IEEE Computer 15(1), 1982",
        maturity="V3",
        cycles="one activation vector per cycle within a step; see docs/units/systolic.md",
        mutation=Mutation(
            preset="tiny", settings=("rows=3",), judge="verif.mutate.datapath:DatapathJudge"
        ),
    ),
    "term": Unit(
        summary="Term revealing: few signed powers of two per group of weights and per data value",
        config="hw.term.config:TermConfig",
        component="hw.term.array:TermArray",
        presets={
            "default": {},
            "tiny": {
                "group": 2,
                "cols": 2,
                "budget": 4,
                "data_terms": 2,
                "x_bits": 4,
                "w_bits": 4,
            },
            "tmac": {"group": 4, "cols": 2, "budget": 8, "pe": "tmac"},
        },
        family="sw.families.term:Term",
        golden="verif.golden.term:term",
        testbench="verif.testbench.term",
        formal="verif.formal.term",
        docs="docs/units/term.md",
        paper="McDanel, Zhang, Kung, Liu, Term Revealing: Furthering Quantization at Run Time on "
        "Quantized DNNs, SC 2020",
        maturity="V2",
        cycles="a batch of up to `rows` vectors per slots of the tile; see docs/units/term.md",
        mutation=Mutation(
            preset="tiny",
            # Of the encoders, proved, much is never used here; four rows wait for each other.
            settings=("encoding=binary", "group=4", "budget=8"),
            judge="verif.mutate.datapath:DatapathJudge",
        ),
    ),
    "serial": Unit(
        summary="Serial arrays: bit planes, recoded digits, tables of weight sums, bit-serial MACs",
        config="hw.serial.config:SerialConfig",
        component="hw.serial.array:SerialArray",
        presets={
            "default": {},
            "tiny": {"rows": 4, "cols": 2, "vectors": 2, "x_bits": 5, "w_bits": 5},
            "digits": {"pe": "digits", "rows": 3, "cols": 2, "vectors": 2},
            "tables": {"pe": "tables", "rows": 8, "cols": 2, "vectors": 1},
            "bit_mac": {
                "pe": "bit_mac",
                "rows": 3,
                "cols": 2,
                "vectors": 3,
                "x_bits": 4,
                "w_bits": 4,
            },
        },
        family="sw.families.serial:Serial",
        golden="verif.golden.serial:serial",
        testbench="verif.testbench.serial",
        formal="verif.formal.serial",
        docs="docs/units/serial.md",
        paper="Umuroglu et al., BISMO, FPL 2018; arXiv 2503.06342; McDanel et al., ICS 2019; "
        "White, Distributed Arithmetic, IEEE ASSP Magazine 1989",
        maturity="V2",
        cycles="`vectors` activation vectors every max(passes, vectors, 4) cycles within a step; "
        "see docs/units/serial.md",
        mutation=Mutation(preset="tiny", judge="verif.mutate.datapath:DatapathJudge"),
    ),
    "packed": Unit(
        summary="Column combining: cells that select one of several channels, DSPs or LUTs",
        config="hw.packed.config:PackedConfig",
        component="hw.packed.array:PackedArray",
        presets={
            "default": {},
            "tiny": {"rows": 2, "cols": 2, "alpha": 3},
            "lut": {"rows": 3, "cols": 2, "alpha": 4, "pe": "lut"},
            "serial": {"rows": 2, "cols": 2, "alpha": 3, "x_bits": 4, "w_bits": 4, "pe": "bit_mac"},
        },
        family="sw.families.packed:Packed",
        golden="verif.golden.packed:packed",
        testbench="verif.testbench.packed",
        formal="verif.formal.packed",
        docs="docs/units/packed.md",
        paper="Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient "
        "Systolic Array Implementations: Column Combining Under Joint Optimization, ASPLOS 2019",
        maturity="V2",
        cycles="one activation vector per cycle within a step; see docs/units/packed.md",
        mutation=Mutation(
            preset="tiny", settings=("rows=3",), judge="verif.mutate.packed:SelectJudge"
        ),
    ),
    "packed_chain": Unit(
        summary="Chain of column-combining arrays: a layer starts with the first pixel of the last",
        config="hw.packed.chain_config:ChainConfig",
        component="hw.packed.chain:PackedChain",
        presets={
            "default": {},
            "tiny": {
                "sizes": ((1, 2), (2,)),
                "outputs": 2,
                "codes": ((0, 1, 4), ()),
                "height": 3,
                "width": 2,
                "x_bits": 3,
                "w_bits": 3,
                "bias_bits": 8,
            },
        },
        golden="verif.golden.packed_chain:packed_chain",
        testbench="verif.testbench.packed_chain",
        formal="verif.formal.packed_chain",
        docs="docs/units/packed_chain.md",
        paper="Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient "
        "Systolic Array Implementations: Column Combining Under Joint Optimization, ASPLOS 2019",
        maturity="V2",
        cycles="one vector a cycle; ChainConfig.cycles and ChainTiming, exact",
        tables={"words": "hw.packed.chain_config:chain_words"},
        mutation=Mutation(
            preset="tiny",
            judge="verif.mutate.packed_chain:ChainJudge",
            parts=("inner",),  # cells are split, so that no bit is without use
        ),
    ),
    "nm": Unit(
        summary="N:M structured sparsity: cells that select among a group of channels",
        config="hw.nm.config:NmConfig",
        component="hw.nm.array:NmArray",
        presets={
            "default": {},
            "tiny": {"rows": 2, "cols": 2, "n": 1, "m": 2},
            "half": {"rows": 4, "cols": 2, "n": 2, "m": 4},
        },
        family="sw.families.nm:Nm",
        golden="verif.golden.nm:nm",
        testbench="verif.testbench.nm",
        formal="verif.formal.nm",
        docs="docs/units/nm.md",
        paper="Mishra et al., Accelerating Sparse Deep Neural Networks, arXiv 2104.08378; NVIDIA, "
        "Parallel Thread Execution ISA, sparse matrix storage",
        maturity="V2",
        cycles="one activation vector per cycle within a step; see docs/units/nm.md",
        mutation=Mutation(
            preset="tiny",
            settings=("rows=4", "n=2", "m=4"),
            judge="verif.mutate.packed:SelectJudge",
        ),
    ),
    "ternary": Unit(
        summary="Ternary weights: cells that add, subtract or skip, one carry chain each",
        config="hw.ternary.config:TernaryConfig",
        component="hw.ternary.array:TernaryArray",
        presets={
            "default": {},
            "tiny": {"rows": 2, "cols": 2},
            "unsigned": {"rows": 5, "cols": 3, "x_bits": 4, "x_signed": False, "fabric": "ecp5"},
        },
        family="sw.families.ternary:Ternary",
        golden="verif.golden.ternary:ternary",
        testbench="verif.testbench.ternary",
        formal="verif.formal.ternary",
        docs="docs/units/ternary.md",
        paper="Li, Liu, Wang, Ternary Weight Networks, arXiv 1605.04711",
        maturity="V2",
        cycles="one activation vector per cycle within a step; see docs/units/ternary.md",
        mutation=Mutation(
            preset="tiny", settings=("rows=3",), judge="verif.mutate.datapath:DatapathJudge"
        ),
    ),
    "kv": Unit(
        summary="KV-cache controller: slots, scores, eviction, sinks, windows, recomputation",
        config="hw.kv.config:KvConfig",
        component="hw.kv.controller:KvController",
        presets={
            "default": {},
            "tiny": {
                "heads": 3,
                "slots": 5,
                "score_bits": 4,
                "weight_bits": 6,
                "position_bits": 6,
                "inputs": 4,
            },
            "wide": {"heads": 8, "slots": 256},
            "paged": {
                "heads": 2,
                "slots": 4,
                "score_bits": 4,
                "weight_bits": 6,
                "position_bits": 6,
                "inputs": 3,
                "refresh_slack": 6,
                "sequences": 3,
                "blocks": 5,
                "block_tokens": 2,
                "table_blocks": 4,
            },
        },
        golden="verif.golden.kv:GoldenKv",
        testbench="verif.testbench.kv",
        formal="verif.formal.kv",
        docs="docs/units/kv.md",
        paper="Kelle, MICRO 2025; Zhang et al., H2O, NeurIPS 2023; Xiao et al., Efficient "
        "Streaming Language Models with Attention Sinks, ICLR 2024",
        maturity="V2",
        cycles="one token and one weight a cycle; hw.kv.timing.KvTiming, exact",
        tables={
            "registers": "hw.kv.registers:kv_registers",
            "register_values": "hw.kv.registers:register_values",
        },
        mutation=Mutation(preset="tiny", judge="verif.mutate.kv:KvJudge"),
    ),
    "kv_storage": Unit(
        summary="Keys and values: quantised to 16, 8 or 4 bits, in block RAM or behind Wishbone",
        config="hw.kv.storage_config:StorageConfig",
        component="hw.kv.rows:KvStorage",
        presets={
            "default": {},
            "tiny": {
                "head_size": 32,
                "group": 8,
                "kv_bits": 4,
                "data_bits": 16,
                "rows": 8,
            },
            "wishbone": {
                "head_size": 32,
                "data_bits": 32,
                "rows": 8,
                "memory": "wishbone",
                "outstanding": 8,
            },
            "whole": {"head_size": 32, "kv_bits": 16, "data_bits": 32, "rows": 8},
        },
        golden="verif.golden.kv_storage:GoldenStorage",
        testbench="verif.testbench.kv_storage",
        formal="verif.formal.kv_storage",
        docs="docs/units/kv_storage.md",
        paper="OpenCores, Wishbone B4, 2010; symmetric quantisation, per token and head",
        maturity="V2",
        cycles="an element written or a word read a cycle; see docs/units/kv_storage.md",
        mutation=Mutation(
            preset="tiny", settings=("rows=5",), judge="verif.mutate.kv_storage:StorageJudge"
        ),
    ),
    "attention": Unit(
        summary="Softmax between two matrix products: running maximum and sum, weights, factors",
        config="hw.attention.config:AttentionConfig",
        component="hw.attention.unit:Attention",
        presets={
            "default": {},
            "tiny": {
                "head_size": 32,
                "slots": 4,
                "kv_bits": 4,
                "group": 16,
                "fraction_bits": 4,
                "weight_bits": 8,
            },
        },
        golden="verif.golden.attention:attention",
        testbench="verif.testbench.attention",
        formal="verif.formal.attention",
        docs="docs/units/attention.md",
        paper="Milakov, Gimelshein, Online normalizer calculation for softmax, arXiv 1805.02867, "
        "2018; Kelle, MICRO 2025 (weights that the cache's controller sums)",
        maturity="V2",
        cycles="one product and one factor per cycle; see AttentionTiming and "
        "docs/units/attention.md",
        mutation=Mutation(
            preset="tiny",
            settings=("head_size=48", "slots=5"),
            judge="verif.mutate.attention:AttentionJudge",
        ),
    ),
    "requantise": Unit(
        summary="Accumulators to activations: bias, multiplier, shift, rounding, zero point, clamp",
        config="hw.engine.requantise_config:RequantiseConfig",
        component="hw.engine.requantise:Requantise",
        presets={
            "default": {},
            "narrow": {"acc_width": 8, "out_bits": 4},
            "half_away": {"rounding": "half_away"},
            "ecp5": {"fabric": "ecp5"},
        },
        golden="verif.golden.requantise:requantise",
        testbench="verif.testbench.requantise",
        formal="verif.formal.requantise",
        docs="docs/units/requantise.md",
        paper="Jacob et al., Quantization and Training of Neural Networks for Efficient "
        "Integer-Arithmetic-Only Inference, CVPR 2018",
        maturity="V2",
        cycles="one result per cycle; latency + 1 cycles from a beat to its result",
        mutation=Mutation(preset="default", judge="verif.mutate.requantise:RequantiseJudge"),
    ),
    "engine": Unit(
        summary="Buffers, sequencer, accumulators, requantiser and registers around one datapath",
        config="hw.engine.config:EngineConfig",
        component="hw.engine.engine:Engine",
        presets={
            "default": {},
            "tiny": {
                "datapath": {"family": "systolic", "rows": 2, "cols": 2},
                "act_depth": 64,
                "weight_depth": 64,
                "acc_depth": 16,
                "param_depth": 16,
            },
        },
        golden="verif.golden.engine:GoldenEngine",
        testbench="verif.testbench.engine",
        formal="verif.formal.engine",
        docs="docs/units/engine.md",
        paper="Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, "
        "ISCA 2017 (weight and accumulator buffers around the array)",
        maturity="V2",
        cycles="tilewright.sw.cycles.predict, exact; see docs/units/engine.md",
        tables={
            "commands": "hw.engine.commands:COMMANDS",
            "operands": "gen.engine_tables:operands",
            "parameters": "gen.engine_tables:parameters",
            "results": "gen.engine_tables:results",
            "requantisation": "gen.engine_tables:requantisation",
            "errors": "hw.engine.commands:ERRORS",
            "registers": "hw.engine.registers:engine_registers",
            "register_values": "hw.engine.registers:register_values",
        },
        mutation=Mutation(
            preset="tiny",
            settings=("datapath.rows=3", "act_depth=52", "acc_depth=12", "drain_lanes=2"),
            judge="verif.mutate.engine:EngineJudge",
            # All but datapath and registers, which have mutants of their own.
            parts=(
                "dispatcher",
                "act_reader",
                "weight_reader",
                "loader",
                "loader_2",
                "act_buffer",
                "accumulator",
                "output_stage",
            ),
        ),
    ),
}

DEFAULT_FAMILY = "systolic"
"""Datapath of an engine whose configuration names none."""

INTERNAL: frozenset[str] = frozenset(
    {
        "hw.arith.counts:NextCount",
        "hw.arith.counts:PreviousCount",
        "hw.arith.dsp_product:DspPair",
        "hw.arith.dsp_product:DspProduct",
        "hw.arith.gated_add:GatedAdd",
        "hw.arith.lut_product:LutProduct",
        "hw.arith.pair_row:PairRow",
        "hw.arith.recode:Recode",
        "hw.arith.signed_pair:SignedPair",
        "hw.attention.reciprocal:Reciprocal",
        "hw.attention.rotary:Rotary",
        "hw.attention.rotary:Rotate",
        "hw.attention.score:Powers",
        "hw.attention.score:RunningSum",
        "hw.attention.score:Score",
        "hw.attention.normalise:Normalise",
        "hw.bus.axi_lite:RegisterBank",
        "hw.bus.axi_stream:AxiStreamTop",
        "hw.bus.hdlc:Deframer",
        "hw.bus.hdlc:Framer",
        "hw.bus.host:HostCore",
        "hw.bus.host:UartHost",
        "hw.bus.host_execute:Executor",
        "hw.bus.host_execute:Replier",
        "hw.bus.host_requests:RequestReceiver",
        "hw.bus.host_streams:Feeder",
        "hw.bus.host_streams:ResultCollector",
        "hw.bus.uart:UartReceiver",
        "hw.bus.uart:UartTransmitter",
        "hw.bus.uart_engine:UartEngine",
        "hw.engine.accumulator:Accumulator",
        "hw.engine.act_buffer:ActBuffer",
        "hw.engine.act_reader:ActReader",
        "hw.engine.address:AddressGenerator",
        "hw.engine.buffer:Buffer",
        "hw.engine.command.checks:FieldChecks",
        "hw.engine.command.dispatcher:Dispatcher",
        "hw.engine.command.parameters:ParameterReceiver",
        "hw.engine.command.registers:CommandRegisters",
        "hw.engine.core:EngineCore",
        "hw.engine.credit_fifo:CreditFifo",
        "hw.engine.loader:Loader",
        "hw.engine.loops:Loops",
        "hw.engine.output.issue:ResultIssue",
        "hw.engine.output.lane:OutputLane",
        "hw.engine.output.parameters:ParameterStore",
        "hw.engine.output.queue:ResultQueue",
        "hw.engine.output.stage:OutputStage",
        "hw.engine.output.store:StoreAddress",
        "hw.engine.output.sums:GroupSums",
        "hw.engine.queue:BlockQueue",
        "hw.engine.queue:Queue",
        "hw.engine.register_slice:AlternatingSlice",
        "hw.engine.register_slice:RegisterSlice",
        "hw.engine.requantise:RequantiseLane",
        "hw.engine.weight_reader:WeightReader",
        "hw.lib.component:Component",
        "hw.lib.fifo:Fifo",
        "hw.packed.cell:SelectCell",
        "hw.packed.chain_array:ChainArray",
        "hw.packed.chain_array:ResidentCell",
        "hw.packed.chain_array:ResidentRim",
        "hw.packed.chain_layer:ChainLayer",
        "hw.packed.chain_loader:ChainLoader",
        "hw.packed.chain_shift:PixelShift",
        "hw.packed.datapath:SelectDatapath",
        "hw.packed.select_array:SelectArray",
        "hw.packed.serial_array:SelectSerialArray",
        "hw.kv.core:KvCore",
        "hw.kv.evictor:Evictor",
        "hw.kv.inputs:InputStore",
        "hw.kv.memory:BlockMemory",
        "hw.kv.memory:WishboneMemory",
        "hw.kv.pager:Pager",
        "hw.kv.placer:Placer",
        "hw.kv.places:Places",
        "hw.kv.quantise:Quantiser",
        "hw.kv.reader:Reader",
        "hw.kv.refresh:Refresher",
        "hw.kv.refresh:Walker",
        "hw.kv.refresh_pair:RefreshPair",
        "hw.kv.rows:RowReader",
        "hw.kv.rows:RowWriter",
        "hw.kv.scorer:Scorer",
        "hw.kv.store:SlotStore",
        "hw.serial.bit_mac:BitMac",
        "hw.serial.bit_mac:BitMacCell",
        "hw.serial.bit_mac:BitMacColumn",
        "hw.serial.bit_mac:BitMacLoader",
        "hw.serial.digits:DigitsColumn",
        "hw.serial.digits:DigitsLoader",
        "hw.serial.digits:DigitsUnit",
        "hw.serial.frame_scheduler:FrameScheduler",
        "hw.serial.passes:BitPasses",
        "hw.serial.passes:PairPasses",
        "hw.serial.passes:Passes",
        "hw.serial.planes:PlanesColumn",
        "hw.serial.planes:PlanesLoader",
        "hw.serial.planes:PlanesUnit",
        "hw.serial.store:PlaneStore",
        "hw.serial.tables:TablesColumn",
        "hw.serial.tables:TablesLoader",
        "hw.serial.tables:TablesUnit",
        "hw.systolic.collect:Pick",
        "hw.systolic.output_stationary:OutputStationary",
        "hw.systolic.pe:OsPe",
        "hw.systolic.pe:WsPe",
        "hw.systolic.row:OsRow",
        "hw.systolic.row:OsSegment",
        "hw.systolic.row:WsRow",
        "hw.systolic.row:WsSegment",
        "hw.systolic.weight_stationary:WeightStationary",
        "hw.systolic.ws_rim:WsRim",
        "hw.ternary.cell:TernaryAdd",
        "hw.ternary.cell:TernaryCell",
        "hw.term.column:TermColumn",
        "hw.term.feeder:TermFeeder",
        "hw.term.plane:HalvingAdd",
        "hw.term.plane:PlanePe",
        "hw.term.rim:TermRim",
        "hw.term.tmac:TmacPe",
        "hw.term.truncate:TermComparator",
    }
)
"""Components that are parts of units, ``module:class``; every other one of `hw` has a row."""


def find_unit(name: str) -> Unit:
    """Return the row of unit ``name``.

    Raises
    ------
    ConfigError
        There is no such unit; the message offers the nearest name.
    """
    return _find("unit", "units", name, UNITS)


def families() -> dict[str, Unit]:
    """Return the rows of the units that an engine can have as its datapath."""
    return {name: row for name, row in UNITS.items() if row.family}


def find_family(name: str) -> Unit:
    """Return the row of datapath family ``name``; errors as `find_unit` has them."""
    return _find("datapath family", "families", name, families())


def _find(kind: str, kinds: str, name: str, rows: Mapping[str, Unit]) -> Unit:
    if isinstance(name, str) and name in rows:
        return rows[name]
    near = get_close_matches(str(name), rows, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no {kind} {name!r} ({kinds}: {', '.join(rows)}){hint}")

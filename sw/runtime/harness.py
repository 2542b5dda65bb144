"""C++ around a model: streams in and out, one loop over cycles, ports by number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .ports import Port, Stream

__all__ = ["Dialect", "class_name", "cxxrtl", "harness", "verilator"]

_PRELUDE = """\
#include <cstdint>
#include <cstring>
#include <vector>
using u32 = uint32_t;
using u64 = uint64_t;
"""

_CXXRTL_BITS = """\
template<size_t N> static u32 *bits(cxxrtl::value<N> &v) { return v.data; }
template<size_t N> static u32 *bits(cxxrtl::wire<N> &w) { return w.curr.data; }
"""

_VERILATOR_BITS = """\
template<std::size_t N> static u32 *bits(VlWide<N> &v) { return v.data(); }
template<class T> static void put_scalar(T &port, u64 from, size_t width) {
  port = T(width < 64 ? from & ((u64(1) << width) - 1) : from);
}
static void put(CData &port, const u64 *from, size_t width) { put_scalar(port, *from, width); }
static void put(SData &port, const u64 *from, size_t width) { put_scalar(port, *from, width); }
static void put(IData &port, const u64 *from, size_t width) { put_scalar(port, *from, width); }
static void put(QData &port, const u64 *from, size_t width) { put_scalar(port, *from, width); }
static void get(CData &port, u64 *to, size_t) { *to = port; }
static void get(SData &port, u64 *to, size_t) { *to = port; }
static void get(IData &port, u64 *to, size_t) { *to = port; }
static void get(QData &port, u64 *to, size_t) { *to = port; }
"""

_VECTORS = """\
template<class T> static void put(T &port, const u64 *from, size_t width) {
  u32 *to = bits(port);
  size_t chunks = (width + 31) / 32;
  for (size_t i = 0; i < chunks; i++) to[i] = u32(from[i / 2] >> (i % 2 * 32));
  if (width % 32) to[chunks - 1] &= (1u << width % 32) - 1;
}
template<class T> static void get(T &port, u64 *to, size_t width) {
  const u32 *from = bits(port);
  size_t chunks = (width + 31) / 32;
  for (size_t i = 0; i < chunks; i += 2)
    to[i / 2] = from[i] | (i + 1 < chunks ? u64(from[i + 1]) << 32 : 0);
}
struct Random {
  u64 state = 88172645463325252ull, limit = 0;
  u64 next() {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return state;
  }
  bool pauses() { return limit && (next() >> 11) < limit; }
};
struct Stream {
  const u64 *data = nullptr;
  size_t beats = 0, at = 0;
  bool valid = false, stalled = false;
  std::vector<u64> out, cycles, now, held;
  Random traffic, noise;
  // The beat on the wires of an input: the next one offered, or noise.
  const u64 *drive(size_t words) {
    if (!valid && at < beats && !traffic.pauses()) valid = true;
    if (valid) return data + at * words;
    now.resize(words);
    for (u64 &word : now) word = noise.next();
    return now.data();
  }
};
enum { FINE, DROPPED, CHANGED };
"""

_UNIT = """\
struct Unit {{
  Top top;
  u64 cycle = 0, still = 0, fault = FINE, fault_cycle = 0, fault_stream = 0;
  Stream s[{streams}];
  bool in_reset() {{ return {reset}; }}
  // Combinational outputs follow the inputs; registers stay.
  void settle() {{ {settle} }}
  // Before the clock edge, with this cycle's inputs.
  void before() {{ {before} }}
  void after() {{ {after} }}
  void watch(u64 i, bool valid, bool ready, size_t words) {{
    Stream &q = s[i];
    u64 wrong = FINE;
    if (q.stalled && !valid) wrong = DROPPED;
    else if (q.stalled && q.now != q.held) wrong = CHANGED;
    if (wrong && !fault) {{ fault = wrong; fault_cycle = cycle; fault_stream = i; }}
    q.stalled = valid && !ready;
    if (q.stalled) q.held = q.now;
    if (!valid || !ready) return;
    q.out.insert(q.out.end(), q.now.begin(), q.now.begin() + words);
    q.cycles.push_back(cycle);
    still = 0;
  }}
  void tick() {{
    bool reset = in_reset();
    still++;
{drive}
    before();
    if (!reset) {{
{sample}
    }} else for (Stream &q : s) q.stalled = q.valid = false;
    after();
    cycle++;
  }}
}};
"""

_INTERFACE = """\
#pragma GCC visibility push(default)
extern "C" {
Unit *make() {
  Unit *u = new Unit;
  for (size_t i = 0; i < sizeof(u->s) / sizeof(*u->s); i++) u->s[i].noise.state += i;
  return u;
}
void destroy(Unit *u) { delete u; }
void offer(Unit *u, int i, const u64 *data, u64 beats) {
  Stream &q = u->s[i];
  q.data = data; q.beats = beats; q.at = 0; q.valid = false;
}
void traffic(Unit *u, int i, u64 limit, u64 seed) {
  u->s[i].traffic.limit = limit;
  u->s[i].traffic.state = seed * 2654435769u + 88172645463325252ull;
}
u64 taken(Unit *u, int i) { return u->s[i].cycles.size(); }
const u64 *payload(Unit *u, int i) { return u->s[i].out.data(); }
const u64 *cycles(Unit *u, int i) { return u->s[i].cycles.data(); }
void forget(Unit *u) { for (Stream &q : u->s) { q.out.clear(); q.cycles.clear(); } }
u64 cycle(Unit *u) { return u->cycle; }
void settle(Unit *u) { u->settle(); }
void begin(Unit *u) { u->still = 0; }
u64 fault(Unit *u, u64 *details) {
  details[0] = u->fault_stream; details[1] = u->fault_cycle;
  return u->fault;
}
// 0: the count was reached; 1: nothing moved; 2: that was all.
u64 run(Unit *u, int i, u64 count, u64 quiet, u64 most) {
  for (u64 n = 0; n < most; n++) {
    if (i >= 0 && u->s[i].cycles.size() >= count) return 0;
    u->tick();
    if (u->fault) break;
    if (u->still > quiet) return 1;
  }
  return i >= 0 && u->s[i].cycles.size() >= count ? 0 : 2;
}
"""


@dataclass(frozen=True)
class Dialect:
    """How the C++ of one kind of model is used.

    Attributes
    ----------
    top : str
        Class of the top module.
    bits : str
        C++ before the functions that copy wide ports.
    name, bit : callable
        Port to the expression for it, and for its value where it has one bit.
    settle, before, after : str
        Statements: outputs follow inputs; the same before the clock's edge; the edge.
    """

    top: str
    bits: str
    name: Callable[[Port], str]
    bit: Callable[[Port], str]
    settle: str
    before: str
    after: str


def class_name(top: str) -> str:
    """Return the name of the class that CXXRTL writes for module ``top``."""
    return "p_" + _mangle(top)


def _mangle(name: str) -> str:
    return "".join(
        "__" if c == "_" else c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name
    )


def cxxrtl(top: str, ports: Sequence[Port], *, one_pass: bool) -> Dialect:
    """Return how a model of CXXRTL is used.

    Parameters
    ----------
    top, ports : str, sequence
        The design.
    one_pass : bool
        The model has no combinational feedback, so that one evaluation with the clock at its
        edge gives outputs and next state at once. Otherwise both clock phases are evaluated
        until they settle.
    """
    if all(port.name != "clk" for port in ports):
        settle = before = "top.step();"
        after = ""
    elif one_pass:
        settle = "bits(top.p_clk)[0] = bits(top.prev_p_clk)[0] = 1; top.eval(nullptr);"
        before = "bits(top.p_clk)[0] = 1; bits(top.prev_p_clk)[0] = 0; top.eval(nullptr);"
        after = "top.commit();"
    else:
        settle = before = "bits(top.p_clk)[0] = 0; top.step();"
        after = "bits(top.p_clk)[0] = 1; top.step();"

    def name(port: Port) -> str:
        return f"top.p_{_mangle(port.name)}"

    def bit(port: Port) -> str:
        return f"bits({name(port)})[0]"

    kind = f"cxxrtl_design::{class_name(top)}"
    return Dialect(kind, _CXXRTL_BITS, name, bit, settle, before, after)


def verilator(ports: Sequence[Port]) -> Dialect:
    """Return how a model of Verilator is used, whose class is called ``Vunit``."""

    def name(port: Port) -> str:
        return "top." + port.name.replace("__", "___05F")

    clocked = any(port.name == "clk" for port in ports)
    return Dialect(
        top="Vunit",
        bits='#include "Vunit.h"\n' + _VERILATOR_BITS,
        name=name,
        bit=name,
        settle="top.eval();",
        before="top.clk = 0; top.eval();" if clocked else "top.eval();",
        after="top.clk = 1; top.eval();" if clocked else "",
    )


def _copy(dialect: Dialect, function: str, stream: Stream, words: str) -> str:
    """Statements that copy the payload of one beat to or from ``words``."""
    at, text = 0, ""
    for port in stream.payload.values():
        text += f" {function}({dialect.name(port)}, {words} + {at}, {port.width});"
        at += port.words
    return text


def _drive(dialect: Dialect, number: int, stream: Stream) -> str:
    q = f"s[{number}]"
    if not stream.is_input:
        return f"    {dialect.bit(stream.ready)} = !{q}.traffic.pauses();" if stream.ready else ""
    return (
        f"    if (!reset) {{ const u64 *beat = {q}.drive({stream.words});"
        f"{_copy(dialect, 'put', stream, 'beat')} (void)beat; }}\n"
        f"    {dialect.bit(stream.valid)} = {q}.valid && !reset;"
    )


def _sample(dialect: Dialect, number: int, stream: Stream) -> str:
    q = f"s[{number}]"
    ready = dialect.bit(stream.ready) if stream.ready else "1"
    if stream.is_input:
        return (
            f"      if ({q}.valid && {ready}) {{ {q}.valid = false; {q}.at++;"
            f" {q}.cycles.push_back(cycle); still = 0; }}"
        )
    return (
        f"      {{ u64 *beat = {q}.now.data(); bool valid = {dialect.bit(stream.valid)};"
        f" if (valid) {{{_copy(dialect, 'get', stream, 'beat')} (void)beat; }}"
        f" watch({number}, valid, {ready}, {stream.words}); }}"
    )


def harness(ports: Sequence[Port], streams: Sequence[Stream], dialect: Dialect) -> str:
    """Return the C++ source of the driver, to follow the model's own declarations.

    Parameters
    ----------
    ports, streams : sequences
        Ports of the top module; `run` and `poke` number them in this order.
    dialect : Dialect
        How the model is used.
    """
    resets = [dialect.bit(port) for port in ports if port.name == "rst"]
    parts = [_PRELUDE, dialect.bits, _VECTORS, f"using Top = {dialect.top};\n"]
    parts.append(
        _UNIT.format(
            streams=max(1, len(streams)),
            reset=resets[0] if resets else "false",
            settle=dialect.settle,
            before=dialect.before,
            after=dialect.after,
            drive="\n".join(_drive(dialect, i, s) for i, s in enumerate(streams)),
            sample="\n".join(_sample(dialect, i, s) for i, s in enumerate(streams)),
        )
    )
    sizes = [f"  u->s[{i}].now.resize({s.words});" for i, s in enumerate(streams) if not s.is_input]
    parts.append(_INTERFACE.replace("  return u;\n", "\n".join([*sizes, "  return u;\n"]), 1))
    for verb, constant in (("put", "const "), ("get", "")):
        name = {"put": "poke", "get": "peek"}[verb]
        parts.append(f"void {name}(Unit *u, int port, {constant}u64 *words) {{ switch (port) {{\n")
        parts += [
            f"  case {i}: {verb}(u->{dialect.name(port)}, words, {port.width}); break;\n"
            for i, port in enumerate(ports)
            if port.is_input or verb == "get"
        ]
        parts.append("} }\n")
    return "".join([*parts, "}\n"])

"""The C++ that CXXRTL writes, cut into pieces that a compiler digests quickly.

CXXRTL evaluates a whole design in one function. Compilers take time out of all proportion for a
function of ten thousand statements; in pieces of a few hundred, and those in several files, the
same design compiles several times faster and runs no slower.
"""

import re
from dataclasses import dataclass

from .harness import class_name

__all__ = ["Model", "cut"]

_STATEMENTS = 400
"""About as many statements to a piece."""

_LOCAL = re.compile(r"^\t(value<\d+>) (\w+);\n", re.MULTILINE)
_REGISTER = re.compile(r"if \((p_\w+|i_\w+)\.commit\(observer\)\) changed = true;")


@dataclass(frozen=True)
class Model:
    """A CXXRTL model as C++.

    Attributes
    ----------
    header, source : str
        Declarations; constructor, reset and evaluation.
    pieces : list of str
        Parts of the evaluation, each to follow the header; empty where it was left whole.
    one_pass : bool
        There is no combinational feedback and only the rising edge of ``clk`` counts.
    """

    header: str
    source: str
    pieces: list[str]
    one_pass: bool


def cut(header: str, source: str, top: str) -> Model:
    """Cut the evaluation of module ``top`` into pieces and make its registers cheap to update.

    What has feedback is left as it is, and evaluation that prints or checks is left whole.
    """
    name = class_name(top)
    start = f"bool {name}::eval(performer *performer) {{\n"
    before, _, rest = source.partition(start)
    body, end, after = rest.partition("\treturn converged;\n}\n")
    edges = set(re.findall(r"bool (\w+edge_\w+) = this", body))
    buffered = re.search(r"^\t\w+(\.slice<[\d,]+>\(\))?\.next\b", body, re.MULTILINE)
    if not end or body.count("converged") != 1 or buffered or edges - {"posedge_p_clk"}:
        return Model(header, source, [], one_pass=False)
    # Without feedback nobody asks whether a register changed.
    header = _REGISTER.sub(r"\1.curr = \1.next;", header)
    locals_ = {name: kind for kind, name in _LOCAL.findall(body)}
    pieces = _pieces(_LOCAL.sub("", body))
    words = [set(re.findall(r"\w+", piece)) for piece in pieces]
    own = re.findall(r"^\tauto (\w+) =", body, re.MULTILINE)
    if len(pieces) < 2 or "performer" in body or any(sum(n in w for w in words) > 1 for n in own):
        return Model(header, source, [], one_pass=True)
    members, functions, calls = [], [], []
    for local, kind in locals_.items():
        if sum(local in piece for piece in words) > 1:
            members.append(f"\t{kind} {local};\n")
    shared = {line.split()[1].rstrip(";") for line in members}
    edge = "".join(sorted(edges)) or "unused"
    for number, (piece, used) in enumerate(zip(pieces, words, strict=True)):
        private = "".join(
            f"\t{kind} {local};\n"
            for local, kind in locals_.items()
            if local in used and local not in shared
        )
        functions.append(f"void {name}::piece_{number}(bool {edge}) {{\n{private}{piece}}}\n")
        members.append(f"\tvoid piece_{number}(bool {edge});\n")
        calls.append(f"\tpiece_{number}({'this->posedge_p_clk()' if edges else 'false'});\n")
    declaration = "\tbool eval(performer *performer"
    header = header.replace(declaration, "".join(members) + declaration, 1)
    source = f"{before}{start}{''.join(calls)}\treturn true;\n}}\n{after}"
    space = "namespace cxxrtl_design {\nusing namespace cxxrtl_yosys;\n"
    return Model(header, source, [f"{space}{text}}}\n" for text in functions], one_pass=True)


def _pieces(body: str) -> list[str]:
    """Cut statements into runs; each statement starts with a comment that names its cell."""
    pieces: list[str] = []
    lines: list[str] = []
    count = 0
    for line in body.splitlines(keepends=True):
        if line.startswith("\tbool "):
            continue
        if line.startswith("\t// "):
            if count >= _STATEMENTS:
                pieces.append("".join(lines))
                lines, count = [], 0
            count += 1
            continue
        lines.append(line)
    return [*pieces, "".join(lines)]

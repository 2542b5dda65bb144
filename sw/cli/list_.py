"""`tilewright list`."""

from .options import Json

__all__ = ["command"]


def command(json: Json = False) -> None:
    """List the units, their presets and how far each is verified."""
    from ...gen.registry import UNITS
    from ...gen.unit import MATURITY
    from .output import print_json, print_table, show

    if json:
        print_json(
            [
                {
                    "unit": name,
                    "maturity": unit.maturity,
                    "presets": list(unit.presets),
                    "summary": unit.summary,
                }
                for name, unit in UNITS.items()
            ]
        )
        return
    print_table(
        ("unit", "maturity", "presets", "what it does"),
        [(name, u.maturity, ", ".join(u.presets), u.summary) for name, u in UNITS.items()],
    )
    show()
    for level, meaning in MATURITY.items():
        show(f"{level}: {meaning}")

"""`tilewright describe UNIT`."""

from collections.abc import Mapping

from .options import ConfigFile, Json, Preset, Settings, UnitName

__all__ = ["command"]


def command(
    unit: UnitName,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Show a unit's parameters, presets, derived numbers and where its parts are."""
    from ...gen.configuration import configure, derived, fields_of, parameters
    from ...gen.registry import find_unit
    from ...gen.unit import MATURITY
    from .output import heading, print_json, print_table, show

    row = find_unit(unit)
    chosen = configure(unit, preset=preset, file=config, settings=set_ or ())
    if json:
        print_json(
            {
                "unit": unit,
                "summary": row.summary,
                "maturity": row.maturity,
                "paper": row.paper,
                "docs": row.docs,
                "presets": {name: dict(fields) for name, fields in row.presets.items()},
                "configuration": fields_of(chosen),
                "derived": derived(chosen),
                "cycles": row.cycles,
            }
        )
        return
    show(f"{heading(unit)}: {row.summary}")
    show(f"maturity {row.maturity} ({MATURITY[row.maturity]})")
    show(f"paper    {row.paper}")
    show(f"docs     {row.docs}")
    show(f"cycles   {row.cycles}\n")
    print_table(
        ("parameter", "value", "default", "meaning"),
        [(p.name, p.value, p.default, p.doc) for p in parameters(chosen)],
    )
    show()
    print_table(("derived", "value"), list(derived(chosen).items()))
    show()
    print_table(
        ("preset", "fields that differ from the defaults"),
        [(name, _fields(fields)) for name, fields in row.presets.items()],
    )


def _fields(fields) -> str:
    flat = (
        f"{key}={{{_fields(value)}}}" if isinstance(value, Mapping) else f"{key}={value}"
        for key, value in fields.items()
    )
    return " ".join(flat)

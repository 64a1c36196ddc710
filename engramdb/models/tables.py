"""The tables of parameters in ``docs/models.md``: ``python -m engramdb.models.tables`` writes them anew."""

from __future__ import annotations

from pathlib import Path

from engramdb.models import get, names
from engramdb.models.model import Model, Parameter

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "models.md"
_BEGIN = "<!-- made by `python -m engramdb.models.tables`: do not edit -->"
_END = "<!-- end of what is made -->"


def text() -> str:
    """The document with its tables as they should be."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    tables = "\n\n".join(_table(get(name)) for name in names() if "." not in name)
    return f"{before}{_BEGIN}\n\n{tables}\n\n{_END}{rest.partition(_END)[2]}"


def _table(model: Model) -> str:
    fields = ", ".join(f"`{field.name}`{_unit(field.unit)}" for field in (*model.absolute, *model.state, *model.kept))
    lines = [
        f"**`{model.name}`**: {model.title}. Fields: {fields}.",
        "",
        "| parameter | default | may be a distribution | |",
        "| --- | --- | --- | --- |",
        *(_line(parameter) for parameter in model.parameters.values()),
    ]
    return "\n".join(lines)


def _line(parameter: Parameter) -> str:
    default = "" if parameter.default is None else f"{parameter.default:g}"
    varies = "yes" if parameter.distribution else ""
    return f"| `{parameter.name}` | {default}{_unit(parameter.unit)} | {varies} | {parameter.doc} |"


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"


if __name__ == "__main__":
    DOCUMENT.write_text(text(), encoding="utf-8")

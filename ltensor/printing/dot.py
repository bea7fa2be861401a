"""Graphs as pictures, in Graphviz' language: `pydotprint`."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.walks import toposort

__all__ = ["graph_to_dot", "pydotprint"]

_COLORS = {"input": "green", "constant": "grey", "shared": "cyan", "output": "dodgerblue"}


def graph_to_dot(
    outputs: list[Variable],
    compact: bool = True,
    max_label_size: int = 70,
    var_with_name_simple: bool = False,
    with_ids: bool = False,
) -> str:
    """The text of a picture: ellipses for operations, boxes for variables.

    Parameters
    ----------
    compact : bool
        Leave out variables between two operations that have no name.
    """
    lines = ["digraph G {", "  node [fontsize=11];"]
    ids: dict[Any, str] = {}

    def name_of(thing: Any) -> str:
        return ids.setdefault(thing, f"n{len(ids)}")

    def label(text: str) -> str:
        text = text if len(text) <= max_label_size else text[: max_label_size - 3] + "..."
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'

    def variable_label(variable: Variable) -> str:
        if isinstance(variable, Constant) or variable.name is None:
            return f"{variable} {variable.type}" if variable.owner is None else str(variable.type)
        return variable.name if var_with_name_simple else f"{variable.name} {variable.type}"

    def draw_variable(variable: Variable, role: str) -> None:
        if variable in ids:
            return
        color = _COLORS.get(role)
        style = f", style=filled, fillcolor={color}" if color else ""
        lines.append(
            f"  {name_of(variable)} [shape=box, label={label(variable_label(variable))}{style}];"
        )

    def shown(variable: Variable) -> bool:
        return not compact or variable.name is not None or variable in outputs

    for node in toposort(outputs):
        text = f"{node.op} id={name_of(node)}" if with_ids else str(node.op)
        lines.append(f"  {name_of(node)} [shape=ellipse, label={label(text)}];")
        for position, operand in enumerate(node.inputs):
            source: Any = operand
            if operand.owner is None:
                draw_variable(operand, _role(operand))
            elif not shown(operand):
                source = operand.owner
            note = f"{position} " if len(node.inputs) > 1 else ""
            edge = label(note + str(operand.type))
            lines.append(f"  {name_of(source)} -> {name_of(node)} [label={edge}];")
        for output in node.outputs:
            if shown(output):
                draw_variable(output, "output" if output in outputs else "")
                lines.append(f"  {name_of(node)} -> {name_of(output)};")
    for output in outputs:
        if output.owner is None:
            draw_variable(output, _role(output))
    return "\n".join([*lines, "}", ""])


def _role(variable: Variable) -> str:
    if isinstance(variable, Constant):
        return "constant"
    return "shared" if hasattr(variable, "get_value") else "input"


def pydotprint(
    fct: Any,
    outfile: str | None = None,
    compact: bool = True,
    format: str = "png",
    with_ids: bool = False,
    high_contrast: bool = True,
    cond_highlight: Any = None,
    colorCodes: Any = None,
    max_label_size: int = 70,
    scan_graphs: bool = False,
    var_with_name_simple: bool = False,
    print_output_file: bool = True,
    return_image: bool = False,
) -> Any:
    """Draw a graph.

    Needs no Python package. The picture itself is made by Graphviz' program ``dot``; where that is
    not installed, the text for it is written to a file ending in ``.dot`` instead.

    Parameters
    ----------
    fct : compiled function, Variable, or list of variables
    outfile : str, optional
        The file to write, ``ltensor.pydotprint.FORMAT`` here by default.
    format : str
        ``'png'``, ``'svg'``, ``'pdf'``, ... or ``'dot'`` for the text.
    return_image : bool
        Return the picture (bytes) and write no file.
    high_contrast, cond_highlight, colorCodes, scan_graphs
        Taken as Theano takes them, without effect.
    """
    text = graph_to_dot(
        _outputs(fct), compact, max_label_size, var_with_name_simple, with_ids=with_ids
    )
    program = shutil.which("dot")
    if return_image:
        if program is None:
            raise RuntimeError("pydotprint(return_image=True) needs Graphviz' program 'dot'")
        return _render(program, text, format)
    if outfile is None:
        outfile = f"ltensor.pydotprint.{format}"
    elif os.path.splitext(outfile)[1]:
        format = os.path.splitext(outfile)[1][1:]
    else:
        outfile = f"{outfile}.{format}"
    if format != "dot" and program is None:
        outfile, format = os.path.splitext(outfile)[0] + ".dot", "dot"
    data = text.encode() if format == "dot" else _render(str(program), text, format)
    with open(outfile, "wb") as stream:
        stream.write(data)
    if print_output_file:
        print(f"The output file is available at {outfile}")
    return None


def _render(program: str, text: str, format: str) -> bytes:
    done = subprocess.run(
        [program, f"-T{format}"], input=text.encode(), capture_output=True, check=True
    )
    return done.stdout


def _outputs(thing: Any) -> list[Variable]:
    if isinstance(thing, Variable):
        return [thing]
    if isinstance(thing, Apply):
        return list(thing.outputs)
    if isinstance(thing, (list, tuple)):
        return list(thing)
    graph = thing.maker.fgraph if hasattr(thing, "maker") else thing
    return list(graph.outputs)

"""LSTM, GRU and RNN in float32: weights in columns, inputs projected, then one kernel over all steps.

| | layout |
| --- | --- |
| weights | ``[directions, k, gates, width]``, k the inputs or the hidden units that they multiply |
| biases, peepholes | ``[directions, gates, width]`` |
| projected input | ``[directions, rows, gates, width]``, rows in the order of x |
| states | ``[directions, rows, width]`` each, whole blocks of rows |

``width`` is the number of hidden units, up to whole vectors (``units_of``); what is beyond them is zero. A group takes
one direction of a block of rows through all steps; its work-items share the units, and meet after each step.
"""

from __future__ import annotations

from functools import partial

from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.templates.recurrent_layout import ACTIVATIONS

ROWS = 4
"""Rows of a block."""


def units_of(target: Target) -> int:
    """Hidden units that a work-item takes at once."""
    return 8 if target.width > 1 else 1


def _constants(target: Target, rows: int) -> dict[str, int]:
    return {"UNITS": units_of(target), "ROWS": rows}


PACK = Template(
    "gates_pack_f32(source: f32*, to: f32*, directions, sources, k, hidden, width, gates, first, second, seconds)",
    """
        const i64 u = item % width, g = item / width % gates, step = item / width / gates % k;
        const i64 d = item / width / gates / k;
        const GLOBAL f32 *own = source + (d * sources * hidden + u) * k + step;
        f32 value = 0.0f;
        if (u < hidden)
            value = own[(first + g) * hidden * k];
        if (u < hidden && g < seconds)
            value += own[(second + g) * hidden * k];
        to[item] = value;
""",
    over="directions * k * gates * width",
)
"""source[directions, sources, hidden, k] in columns: gates ``first`` on, to the first ``seconds`` of which those from
``second`` on are added."""

PROJECT = Template(
    "gates_project_f32(x: f32*, rows, inputs, w: f32*, bias: f32*, parts, directions, to: f32*)",
    """
        const i64 columns = parts * UNITS, first = item / parts % ((rows + ROWS - 1) / ROWS) * ROWS;
        const i64 at = item % parts * UNITS, d = item / parts / ((rows + ROWS - 1) / ROWS);
        const i64 last = rows - 1;
        const GLOBAL f32 *own = w + d * inputs * columns + at;
        f32 sums[ROWS * UNITS];
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < UNITS; j++)
                sums[r * UNITS + j] = bias[d * columns + at + j];
        for (i64 k = 0; k < inputs; k++)
            for (int r = 0; r < ROWS; r++) {
                const f32 a = x[(first + r < last ? first + r : last) * inputs + k];
                for (int j = 0; j < UNITS; j++)
                    sums[r * UNITS + j] += a * own[k * columns + j];
            }
        for (int r = 0; r < ROWS && first + r < rows; r++)
            for (int j = 0; j < UNITS; j++)
                to[(d * rows + first + r) * columns + at + j] = sums[r * UNITS + j];
""",
    over=f"directions * ((rows + {ROWS - 1}) / {ROWS}) * parts",
    constants=partial(_constants, rows=ROWS),
)
"""to[directions, rows, columns] = x[rows, inputs] @ w[directions, inputs, columns] + bias[directions, columns], of so
many ``parts`` of ``units_of`` columns."""

# --- cells

_FORMULAS = {
    "sigmoid": "1.0f / (1.0f + exp(-x))",
    "tanh": "tanh(x)",
    "relu": "x < 0.0f ? 0.0f : x",
    "hardsigmoid": "fmin(1.0f, fmax(0.0f, x * alpha + beta))",
    "leakyrelu": "x < 0.0f ? x * alpha : x",
    "thresholdedrelu": "x <= alpha ? 0.0f : x",
    "scaledtanh": "alpha * tanh(beta * x)",
    "elu": "x < 0.0f ? alpha * expm1(x) : x",
    "softsign": "x / (fabs(x) + 1.0f)",
    "softplus": "log1p(exp(-fabs(x))) + fmax(0.0f, x)",
    "affine": "x * alpha + beta",
}

_ACTIVATE = (
    "DEVICE f32 ENTRY_act(const GLOBAL i64 *table, int which, f32 clip, f32 given)\n{\n"
    "    const f32 alpha = AS_F32((u32)table[3 * which + 1]), beta = AS_F32((u32)table[3 * which + 2]);\n"
    "    const f32 x = given > clip ? clip : given < -clip ? -clip : given;\n"
    "    switch (table[3 * which]) {\n"
    + "".join(f"    case {i}: return {_FORMULAS[name]};\n" for i, name in enumerate(ACTIVATIONS))
    + "    }\n    return x;\n}\n"
)

_COMMON = (
    "x: f32*, steps, batch, directions, backwards, hidden, width, r: f32*, bias: f32*, acts: i64*, clip: f32,"
    " lengths: i32*, x_t, x_b, h0: f32*, y: f32*, y_t, y_d, y_b, yh: f32*, s_d, s_b, states: f32*"
)
"""Parameters of the recurrent kernels: x, the projected input, whose steps and rows are x_t and x_b elements apart;
backwards, a bit for each direction that runs so; r in columns; acts, [directions, functions] of (number, alpha, beta);
lengths, h0, y, yh: may be left out; states: scratch, as many as the kernel says."""


def _sum(gates: int, of: int, first: int, source: str) -> str:
    """sums[gates, ROWS, UNITS] += source[ROWS, hidden] @ the weights of gates ``first`` on, of ``of``."""
    return f"""
            for (i64 k = 0; k < hidden; k++)
                for (int m = 0; m < ROWS; m++) {{
                    const f32 a = {source}[m * width + k];
                    for (int g = 0; g < {gates}; g++)
                        for (int j = 0; j < UNITS; j++)
                            sums[(g * ROWS + m) * UNITS + j] += a * own[(k * {of} + {first} + g) * width + u + j];
                }}
"""


def _each(text: str) -> str:
    """Statements for each row and unit: ``unit`` its number, ``at`` its place in a state, ``given`` its inputs."""
    return f"""
            for (int m = 0; m < ROWS && first + m < batch; m++)
                for (int j = 0; j < UNITS && u + j < hidden; j++) {{
                    const i64 unit = u + j, at = m * width + unit;
                    const GLOBAL f32 *given = now_x + m * x_b + unit;
                    const int alive = lengths == 0 || t < lengths[first + m];
{text}
                }}
"""


_UNITS = "        for (i64 u = LOCAL_ID(0) * UNITS; u < width; u += LOCAL_SIZE(0) * UNITS) {\n"
_ZERO_SUMS = """
            f32 sums[{n} * ROWS * UNITS];
            for (int j = 0; j < {n} * ROWS * UNITS; j++)
                sums[j] = 0.0f;
"""
_SHOW = """
                    now[at] = alive ? h : last[at];
                    if (y != 0)
                        y[t * y_t + d * y_d + (first + m) * y_b + unit] = alive ? h : 0.0f;
"""


def _cell(name: str, gates: int, more: str, states: int, starts: str, step: str, ends: str, rows: int) -> Template:
    """A recurrent kernel: ``starts`` and ``ends`` are said for each element of the states, ``step`` for each step."""
    body = f"""
    const i64 blocks = (batch + ROWS - 1) / ROWS, d = GROUP_ID(0) / blocks, first = GROUP_ID(0) % blocks * ROWS;
    const i64 whole = directions * blocks * ROWS * width;
    GLOBAL f32 *last = states + (d * blocks * ROWS + first) * width, *now = last + whole;
    const GLOBAL f32 *own = r + d * hidden * {gates} * width;
    for (i64 i = LOCAL_ID(0); i < ROWS * width; i += LOCAL_SIZE(0)) {{
        const i64 m = i / width, unit = i % width, at = d * s_d + (first + m) * s_b + unit;
        const int real = first + m < batch && unit < hidden;
        last[i] = real && h0 != 0 ? h0[at] : 0.0f;
        now[i] = 0.0f;
        {starts}
    }}
    BARRIER_ALL();
    for (i64 i = 0; i < steps; i++) {{
        const i64 t = backwards >> d & 1 ? steps - 1 - i : i;
        const GLOBAL f32 *now_x = x + d * steps * batch * {gates} * width + t * x_t + first * x_b;
{step}
        BARRIER_ALL();
        GLOBAL f32 *turn = last;
        last = now;
        now = turn;
    }}
    for (i64 i = LOCAL_ID(0); i < ROWS * width; i += LOCAL_SIZE(0)) {{
        const i64 m = i / width, unit = i % width, at = d * s_d + (first + m) * s_b + unit;
        if (first + m < batch && unit < hidden) {{
            if (yh != 0)
                yh[at] = last[i];
            {ends}
        }}
    }}
"""

    def grid(sizes: Sizes, target: Target) -> Grid:
        blocks = -(-int(sizes["batch"]) // rows)
        needed = int(sizes["width"]) // units_of(target)
        items = next((n for n in (target.group // 8, target.group) if n >= needed), target.group)
        return Grid((int(sizes["directions"]) * blocks, 1, 1), (items, 1, 1))

    title = name if rows == ROWS else name.replace("_f32", "_one_f32")
    constants = partial(_constants, rows=rows)
    return Template(f"{title}({_COMMON}{more})", body, functions=_ACTIVATE, tiles=grid, constants=constants)


def _gate(g: int, of_sums: int) -> str:
    return f"given[{g} * width] + sums[({of_sums} * ROWS + m) * UNITS + j]"


_LSTM = _each(f"""
                    const GLOBAL i64 *table = acts + 9 * d;
                    const GLOBAL f32 *looks = peephole + d * 3 * width + unit;
                    f32 s_i = {_gate(0, 0)}, s_o = {_gate(1, 1)}, s_f = {_gate(2, 2)}, s_c = {_gate(3, 3)};
                    const f32 before = cell[at];
                    if (peephole != 0) {{
                        s_i += looks[0] * before;
                        s_f += looks[2 * width] * before;
                    }}
                    const f32 in = ENTRY_act(table, 0, clip, s_i);
                    const f32 forget = coupled ? 1.0f - in : ENTRY_act(table, 0, clip, s_f);
                    const f32 after = forget * before + in * ENTRY_act(table, 1, clip, s_c);
                    if (peephole != 0)
                        s_o += looks[width] * after;
                    const f32 h = ENTRY_act(table, 0, clip, s_o) * ENTRY_act(table, 2, INFINITY, after);
                    cell[at] = alive ? after : before;
{_SHOW}
""")


def _lstm(rows: int) -> Template:
    """LSTM of 3 states; peephole[directions, 3, width] or none, coupled: input and forget gate; c0 and yc may be left
    out."""
    return _cell(
        "lstm_f32", 4, ", peephole: f32*, coupled, c0: f32*, yc: f32*", 3,
        "(last + 2 * whole)[i] = real && c0 != 0 ? c0[at] : 0.0f;",
        "        GLOBAL f32 *cell = states + 2 * whole + (d * blocks * ROWS + first) * width;\n"
        + _UNITS + _ZERO_SUMS.format(n=4) + _sum(4, 4, 0, "last") + _LSTM + "        }",
        "if (yc != 0)\n                yc[at] = (states + 2 * whole + (d * blocks * ROWS + first) * width)[i];", rows,
    )  # fmt: skip


def _gru_linear(rows: int) -> Template:
    """GRU of 2 states that resets behind the product; bias[directions, width]: what is added to that of h."""
    step = _each(f"""
                    const GLOBAL i64 *table = acts + 6 * d;
                    const f32 z = ENTRY_act(table, 0, clip, {_gate(0, 0)});
                    const f32 reset = ENTRY_act(table, 0, clip, {_gate(1, 1)});
                    const f32 behind = sums[(2 * ROWS + m) * UNITS + j] + bias[d * width + unit];
                    const f32 new_h = ENTRY_act(table, 1, clip, given[2 * width] + reset * behind);
                    const f32 h = (1.0f - z) * new_h + z * last[at];
{_SHOW}
""")
    whole = _UNITS + _ZERO_SUMS.format(n=3) + _sum(3, 3, 0, "last") + step + "        }"
    return _cell("gru_linear_f32", 3, "", 2, "", whole, "", rows)


def _gru(rows: int) -> Template:
    """GRU of 4 states that resets before the product; bias[directions, width]: that of h."""
    gates = _each(f"""
                    const GLOBAL i64 *table = acts + 6 * d;
                    z[at] = ENTRY_act(table, 0, clip, {_gate(0, 0)});
                    reset[at] = ENTRY_act(table, 0, clip, {_gate(1, 1)}) * last[at];
                    (void)alive;
""")
    cell = _each(f"""
                    const f32 sum = {_gate(2, 0)} + bias[d * width + unit];
                    const f32 new_h = ENTRY_act(acts + 6 * d, 1, clip, sum);
                    const f32 h = (1.0f - z[at]) * new_h + z[at] * last[at];
{_SHOW}
""")
    step = (
        "        GLOBAL f32 *z = states + 2 * whole + (d * blocks * ROWS + first) * width, *reset = z + whole;\n"
        + _UNITS + _ZERO_SUMS.format(n=2) + _sum(2, 3, 0, "last") + gates + "        }\n        BARRIER_ALL();\n"
        + _UNITS + _ZERO_SUMS.format(n=1) + _sum(1, 3, 2, "reset") + cell + "        }"
    )  # fmt: skip
    starts = "(last + 2 * whole)[i] = (last + 3 * whole)[i] = 0.0f;"
    return _cell("gru_f32", 3, "", 4, starts, step, "", rows)


def _rnn(rows: int) -> Template:
    """RNN of 2 states."""
    step = _each(f"""
                    const f32 h = ENTRY_act(acts + 3 * d, 0, clip, {_gate(0, 0)});
{_SHOW}
""")
    return _cell(
        "rnn_f32", 1, "", 2, "", _UNITS + _ZERO_SUMS.format(n=1) + _sum(1, 1, 0, "last") + step + "        }", "", rows
    )


LSTM, GRU, GRU_LINEAR, RNN = (make(ROWS) for make in (_lstm, _gru, _gru_linear, _rnn))
LSTM_ONE, GRU_ONE, GRU_LINEAR_ONE, RNN_ONE = (make(1) for make in (_lstm, _gru, _gru_linear, _rnn))

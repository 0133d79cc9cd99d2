"""Convolutions as products with columns that are never stored: every work-group gathers its own into local memory.

Output pixels of all images, in order, are the columns of a product; rows are output channels of a group, the depth goes
over input channels and taps. Where a tap finds its element says a table, so that padding, dilation, and the phases of a
transposed convolution are all the same to the kernel. Weights are packed: [group, panel, depth, rows of a panel].

On a device with vector units a group is one work-item: it gathers a block of the depth for as many pixels as its sums
are wide, and goes over all panels with that. Elsewhere, and where there is a matrix unit, a group is many
work-items, and makes one panel: a tile that is a multiple of the unit's (``clike.templates.conv_shape``).
"""

from __future__ import annotations

from functools import cache

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.clike.render.epilogue import activate
from ronn_codegen.clike.render.functions import functions_in
from ronn_codegen.clike.templates._requantise import requantised, rescale
from ronn_codegen.clike.templates.conv_shape import Shape


@dataclass(frozen=True)
class Conv:
    """What the text of a convolution depends on. x, y: what is stored; staged: what is multiplied; sums: what products
    are summed in at last. activation: a name of ``ronn.ops.fused``, or ``requantise``."""

    shape: Shape
    rank: int
    x: str
    y: str
    staged: str
    sums: str
    activation: str = ""
    addend: bool = False

    @property
    def quantised(self) -> bool:
        return self.x in ("i8", "u8")


FORM = (
    "conv(x: {x}*, w: {w}*, bias: {bias}*, addend: {y}*, y: {y}*, sums: {sums}*, taps: i32*, dims: i64*, depth, rows, "
    "total, pixels, image, group_step, y_image, y_plane, tiles, parts, groups, p0: f32, p1: f32{more})"
)
QUANTISED = ", x_zero: {x}*, x_scale: f32*, w_scale: f32*, w_step, y_scale: f32*, y_zero: {y}*"


@cache
def conv_kernel(conv: Conv) -> Template:
    """The kernel. Its parameters:

    w[groups, panels, depth, rows of a panel] is packed, bias[channels] may be missing, addend has the layout of y.
    ``sums`` holds sums between blocks of the depth, where there are several. taps[depth, 1 + rank]: where an element
    lies from the first of a window, and by how much along each dim. dims[rank, 4]: size of the input, windows, stride,
    and the step in y from window to window. ``total`` windows in all images, ``pixels`` in one; ``image``: elements of
    one in x; ``group_step``: those of the channels of a group; ``y_image`` and ``y_plane``: the same in y.
    """
    more = QUANTISED if conv.quantised else ""
    form = (FORM.replace("{more}", more)).format(
        x=conv.x, w=conv.staged, y=conv.y, bias=conv.sums, sums=conv.sums,
    )  # fmt: skip
    body = _panel(conv) if conv.shape.many else _block(conv)
    return Template(form, body, functions=functions_in(body), tiles=_Tiles(conv.shape.items))


@dataclass(frozen=True)
class _Tiles:
    items: int

    def __call__(self, sizes: Sizes, target: Target) -> Grid:
        return Grid((int(sizes["tiles"]), int(sizes["parts"]), int(sizes["groups"])), (self.items, 1, 1))


def _load(conv: Conv, place: str) -> str:
    """The element at a place of x as it is multiplied."""
    if conv.quantised:
        return f"({conv.staged})((i32)x[{place}] - zero)"
    return f"f32_of_f16(x[{place}])" if conv.x == "f16" else f"x[{place}]"


def _start(conv: Conv) -> str:
    """The columns of a group: where the first element of each window lies, and where its result goes."""
    s, dims = conv.shape, range(conv.rank)
    sizes = "".join(
        f"    const i64 h{d} = dims[{4 * d}], o{d} = dims[{4 * d + 1}], s{d} = dims[{4 * d + 2}], "
        f"e{d} = dims[{4 * d + 3}];\n"
        for d in dims
    )
    coordinates = "".join(f"    LOCAL i32 c{d}[{s.pixels}];\n" for d in dims)
    split = "".join(f"            const i64 q{d} = rest % o{d};\n            rest /= o{d};\n" for d in reversed(dims))
    planes = "1"
    strides = []
    for d in reversed(dims):
        strides.append((d, planes))
        planes = f"h{d}" if planes == "1" else f"{planes} * h{d}"
    base = " + ".join(f"q{d} * s{d}" + ("" if p == "1" else f" * ({p})") for d, p in strides)
    place = " + ".join(f"q{d} * e{d}" for d in dims)
    keep = "".join(f"            c{d}[j] = (i32)(q{d} * s{d});\n" for d in dims)
    none = "".join(f"            c{d}[j] = -(1 << 30);\n" for d in dims)
    zero = "    const i32 zero = x_zero ? (i32)x_zero[0] : 0;\n" if conv.quantised else ""
    return f"""\
    enum {{ ROWS = {s.rows}, PIXELS = {s.pixels}, ITEMS = {s.items}, DEPTH = {s.depth} }};
{sizes}{zero}    LOCAL i64 place[PIXELS];
    LOCAL i32 base[PIXELS];
{coordinates}    const i64 group = GROUP_ID(2), first = GROUP_ID(0) * PIXELS, from = first / pixels;
    const i32 some = total - first < PIXELS ? (i32)(total - first) : PIXELS;
    const i64 panels = (rows + ROWS - 1) / ROWS;
    x += from * image + group * group_step;
    for (i32 j = (i32)LOCAL_ID(0); j < PIXELS; j += ITEMS) {{
        if (j < some) {{
            const i64 n = (first + j) / pixels;
            i64 rest = (first + j) % pixels;
{split}            base[j] = (i32)((n - from) * image + {base});
            place[j] = n * y_image + {place};
{keep}        }} else {{
            base[j] = 0;
{none}        }}
    }}
"""


def _inside(conv: Conv, j: str) -> str:
    return " & ".join(f"((u32)(c{d}[{j}] + tap[{d + 1}]) < (u32)h{d})" for d in range(conv.rank))


def _finish(conv: Conv, total: str, place: str, indent: str) -> str:
    """Statements that finish a sum and store it at a place of y."""
    if conv.activation == "requantise":
        lines = requantised(f"{total} + b", f"y[{place}]", conv.y)
    else:
        lines = [f"{conv.sums} v = {total} + b;"]
        if conv.addend:
            more = f"addend[{place}]"
            lines.append(f"v += {f'f32_of_f16({more})' if conv.y == 'f16' else more};")
        if conv.activation:
            lines += activate(conv.activation, conv.sums)
        lines.append(f"y[{place}] = {'f16_of_f32(v)' if conv.y == 'f16' else 'v'};")
    return "".join(f"{indent}{line}\n" for line in lines)


def _row(conv: Conv, indent: str) -> str:
    """Statements at the beginning of a row of results: what holds for all of its channel."""
    lines = [f"const {conv.sums} b = bias ? bias[channel] : 0;"]
    if conv.activation == "requantise":
        lines += rescale(conv.y)
    return "".join(f"{indent}{line}\n" for line in lines)


def _panel(conv: Conv) -> str:
    """One work-item: blocks of the depth, and all panels of its part in each."""
    s, t = conv.shape, conv.staged
    vector = f"{t}x{s.lanes}" if s.lanes > 1 else t

    def load(at: str) -> str:
        return f"LOAD_{vector}({at})" if s.lanes > 1 else f"*({at})"

    def splat(value: str) -> str:
        return f"SPLAT_{vector}({value})" if s.lanes > 1 else value

    each = [(r, c) for r in range(s.tall) for c in range(s.wide)]
    sums = "".join(f"            {vector} v{r}_{c} = {splat('0')};\n" for r, c in each)
    right = "".join(f"                const {vector} b{c} = {load(f'b + {c * s.lanes}')};\n" for c in range(s.wide))
    products = "".join(
        f"                {{ const {vector} a{r} = {splat(f'a[{r}]')}; "
        + " ".join(f"v{r}_{c} = v{r}_{c} + a{r} * b{c};" for c in range(s.wide))
        + " }\n"
        for r in range(s.tall)
    )
    if s.lanes > 1:
        out = "".join(f"            STORE_{vector}(out + {r} * PIXELS + {c * s.lanes}, v{r}_{c});\n" for r, c in each)
        copy = "".join(
            f"STORE_{vector}(to + {c * s.lanes}, LOAD_{vector}(x + base[0] + tap[0] + {c * s.lanes})); "
            for c in range(s.wide)
        ) if conv.x == t else ""  # fmt: skip
    else:
        out = "".join(f"            out[{r} * PIXELS + {c}] = v{r}_{c};\n" for r, c in each)
        copy = ""
    run = ""
    last = conv.rank - 1
    if copy:
        whole = "".join(f" & ((u32)(c{d}[0] + tap[{d + 1}]) < (u32)h{d})" for d in range(last))
        run = (
            f"            const i32 at = c{last}[0] + tap[{last + 1}];\n"
            f"            if (run & (at >= 0) & (at + PIXELS <= h{last}){whole}) {{\n"
            f"                {copy.strip()}\n                continue;\n            }}\n"
        )
    flat = _finish(conv, "total", "start + j", " " * 24)
    apart = _finish(conv, "total", "place[j] + channel * y_plane", " " * 24)
    value = f"({conv.sums})out[r * PIXELS + j]"
    return f"""\
{_start(conv)}    LOCAL {t} stage[DEPTH * PIXELS];
    LOCAL {t} out[ROWS * PIXELS];
    const int even = some == PIXELS && place[PIXELS - 1] - place[0] == PIXELS - 1;
    const int run = some == PIXELS && base[PIXELS - 1] - base[0] == PIXELS - 1 &&
        c{last}[PIXELS - 1] - c{last}[0] == PIXELS - 1;
    const i64 part = GROUP_ID(1), begin = panels * part / parts, end = panels * (part + 1) / parts;
    for (i64 k0 = 0; k0 == 0 || k0 < depth; k0 += DEPTH) {{
        const i64 k1 = k0 + DEPTH < depth ? k0 + DEPTH : depth;
        for (i64 k = k0; k < k1; k++) {{
            GLOBAL const i32 *tap = taps + k * {conv.rank + 1};
            LOCAL {t} *to = stage + (k - k0) * PIXELS;
{run}            for (i32 j = 0; j < PIXELS; j++) {{
                const int inside = {_inside(conv, "j")};
                const {t} v = {_load(conv, "inside ? base[j] + tap[0] : 0")};
                to[j] = inside ? v : 0;
            }}
        }}
        for (i64 panel = begin; panel < end; panel++) {{
            GLOBAL const {t} *a = w + ((group * panels + panel) * depth + k0) * ROWS;
            LOCAL const {t} *b = stage;
{sums}            for (i64 k = k0; k < k1; k++, a += ROWS, b += PIXELS) {{
{right}{products}            }}
{out}            GLOBAL {conv.sums} *before = sums + ((group * tiles + GROUP_ID(0)) * panels + panel) * (ROWS * PIXELS);
            for (i32 r = 0; r < ROWS; r++) {{
                const i64 row = panel * ROWS + r, channel = group * rows + row;
                if (row >= rows) break;
                if (k1 < depth) {{
                    for (i32 j = 0; j < PIXELS; j++) {{
                        const {conv.sums} sofar = k0 > 0 ? before[r * PIXELS + j] : 0;
                        before[r * PIXELS + j] = sofar + {value};
                    }}
                    continue;
                }}
{_row(conv, " " * 16)}                if (even) {{
                    const i64 start = place[0] + channel * y_plane;
                    for (i32 j = 0; j < PIXELS; j++) {{
                        const {conv.sums} total = {value} + (k0 > 0 ? before[r * PIXELS + j] : 0);
{flat}                    }}
                }} else {{
                    for (i32 j = 0; j < some; j++) {{
                        const {conv.sums} total = {value} + (k0 > 0 ? before[r * PIXELS + j] : 0);
{apart}                    }}
                }}
            }}
        }}
    }}
"""


def _block(conv: Conv) -> str:
    """Many work-items: one panel, and the depth in steps."""
    s, t = conv.shape, conv.staged
    finish = _finish(conv, f"acc[q * {s.tall} + r]", "place[j] + channel * y_plane", " " * 12)
    return f"""\
    enum {{ ACROSS = {s.across}, TALL = {s.tall}, WIDE = {s.wide} }};
{_start(conv)}    LOCAL {t} stage[DEPTH * PIXELS];
    LOCAL {t} left[DEPTH * ROWS];
    const i64 panel = GROUP_ID(1);
    const i32 item = (i32)LOCAL_ID(0), across = item % ACROSS, down = item / ACROSS;
    const i32 within = some > across ? (some - across + ACROSS - 1) / ACROSS : 0;
    const i32 columns = panel * ROWS + down * TALL < rows ? within : 0;
    {conv.sums} acc[TALL * WIDE];
    for (i32 i = 0; i < TALL * WIDE; i++) acc[i] = 0;
    w += (group * panels + panel) * depth * ROWS;
    BARRIER();
    for (i64 k0 = 0; k0 < depth; k0 += DEPTH) {{
        for (i32 i = item; i < DEPTH * PIXELS; i += ITEMS) {{
            const i32 j = i % PIXELS;
            const i64 k = k0 + i / PIXELS;
            GLOBAL const i32 *tap = taps + (k < depth ? k : 0) * {conv.rank + 1};
            const int inside = (k < depth) & {_inside(conv, "j")};
            const {t} found = {_load(conv, "inside ? base[j] + tap[0] : 0")};
            stage[i] = inside ? found : 0;
        }}
        for (i32 i = item; i < DEPTH * ROWS; i += ITEMS) left[i] = k0 + i / ROWS < depth ? w[k0 * ROWS + i] : 0;
        BARRIER();
        for (i32 k = 0; k < DEPTH && columns > 0; k++) {{
            {conv.sums} a[TALL];
            for (i32 r = 0; r < TALL; r++) a[r] = left[k * ROWS + down * TALL + r];
            for (i32 q = 0; q < columns; q++) {{
                const {conv.sums} b = stage[k * PIXELS + q * ACROSS + across];
                for (i32 r = 0; r < TALL; r++) acc[q * TALL + r] = acc[q * TALL + r] + a[r] * b;
            }}
        }}
        BARRIER();
    }}
    for (i32 r = 0; r < TALL; r++) {{
        const i64 row = panel * ROWS + down * TALL + r, channel = group * rows + row;
        if (row >= rows) break;
{_row(conv, " " * 8)}        for (i32 q = 0; q < WIDE; q++) {{
            const i32 j = q * ACROSS + across;
            if (j >= some) break;
{finish}        }}
    }}
"""


@cache
def pack_kernel(stored: str, staged: str) -> Template:
    """Packs weights that are computed: packed[groups, panels, depth, height] from w, whose channels ``step`` elements
    apart lie; ``places[depth]``: where the elements of one are; ``group_step``: from group to group. Of bytes a zero
    point is taken off: of each channel with a ``zero_step`` of 1."""
    value = "f32_of_f16(w[at])" if stored == "f16" else "w[at]"
    zero = stored in ("i8", "u8")
    if zero:
        value = "((i32)w[at] - (zeros ? (i32)zeros[(group * rows + row) * zero_step] : 0))"
    body = f"""\
        const i64 panels = (rows + height - 1) / height;
        const i64 k = item / height % depth, panel = item / height / depth % panels;
        const i64 group = item / height / depth / panels, row = panel * height + item % height;
        const i64 at = group * group_step + (row < rows ? row : 0) * step + places[k];
        packed[item] = row < rows ? ({staged}){value} : 0;"""
    form = (
        f"conv_pack(w: {stored}*, packed: {staged}*, places: i64*, groups, rows, depth, height, step, group_step, "
        f"zeros: {stored}*, zero_step)"
    )
    return Template(form, body, "groups * ((rows + height - 1) / height) * depth * height", functions_in(body))

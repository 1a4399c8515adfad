"""Draws docs/_static/fused-epoch.svg: ``python docs/develop/draw_fused_epoch.py``.  The tests compare the two.

The drawing shows one step of a 784-512-512-10 network on two threads, as `backends.numba_backend.epoch_kernel` divides
it.  It brings its own background, and other colours where the page is dark.
"""

from __future__ import annotations

from pathlib import Path

WIDTH, TOP, GAP = 420, 92, 38
LANES, PICTURE, TEXT = (16, 42), 80, 172
STYLE = """
.bg { fill: #ffffff; stroke: #c9d1d9; }
text { font: 12.5px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933; }
.title { font-weight: 600; font-size: 13px; }
.small { font-size: 11px; }
.a { fill: #3b7dd8; } .b { fill: #e08a1e; }
.frame { fill: none; stroke: #5b6570; }
.wall { stroke: #5b6570; stroke-width: 1.5; }
.note { fill: #4d5761; font-size: 11px; font-style: italic; }
@media (prefers-color-scheme: dark) {
  .bg { fill: #1b2028; stroke: #4a5361; }
  text { fill: #e6e9ed; }
  .a { fill: #6ba6f5; } .b { fill: #f0ae55; }
  .frame { stroke: #a3adb8; }
  .wall { stroke: #a3adb8; }
  .note { fill: #b9c2cc; }
}
"""

PHASES = (
    ("1  forward, layer 1 (shared)", "columns", "W₁", (
        "Each thread computes half of the", "output columns, for all rows.",
    ), ""),
    ("2  forward, layer 2 (shared)", "columns", "W₂", (
        "The same: half of the panels", "of W₂ for each thread.",
    ), ""),
    ("3  private rows", "rows", "batch", (
        "Each thread takes half of the rows:", "forward through layer 3, loss,", "back through layer 3.",
    ), "last thread: sum of the loss, is it finite?"),
    ("4  back, layer 2 (shared)", "rows", "W₂", (
        "Each thread takes half of the inputs:", "gradients of these inputs, then the", "update of their rows of W₂.",
    ), ""),
    ("5  update", "columns", "W₁", (
        "The other weights: W₁ by columns,", "W₃ by inputs. Also: gather the", "rows of the next batch.",
    ), "last thread: batches done, stop requested?"),
)  # fmt: skip


def picture(x, y, split, label):
    """A matrix of which each thread has one half."""
    w, h = 74, 50
    if split == "columns":
        halves = (x, y, w / 2, h), (x + w / 2, y, w / 2, h)
    else:
        halves = (x, y, w, h / 2), (x, y + h / 2, w, h / 2)
    parts = [
        f'<rect class="{thread}" x="{a:g}" y="{b:g}" width="{c:g}" height="{d:g}" opacity="0.55"/>'
        for thread, (a, b, c, d) in zip("ab", halves, strict=True)
    ]
    return [
        *parts,
        f'<rect class="frame" x="{x}" y="{y}" width="{w}" height="{h}"/>',
        f'<text class="small" x="{x + w / 2:g}" y="{y + h + 14}" text-anchor="middle">{label}</text>',
    ]


def phase(y, title, split, label, lines, note):
    """The parts of one phase from `y` on, and where the next one begins."""
    height = 96
    parts = [
        f'<rect class="{thread}" x="{x}" y="{y}" width="18" height="{height}" rx="3"/>'
        for thread, x in zip("ab", LANES, strict=True)
    ]
    parts += picture(PICTURE, y + 12, split, label)
    parts.append(f'<text class="title" x="{TEXT}" y="{y + 14}">{title}</text>')
    parts += [f'<text x="{TEXT}" y="{y + 35 + 18 * number}">{line}</text>' for number, line in enumerate(lines)]
    wall = y + height + 14
    parts.append(f'<line class="wall" x1="10" y1="{wall:g}" x2="66" y2="{wall:g}"/>')
    if note:
        parts.append(f'<text class="note" x="{PICTURE}" y="{wall + 4:g}">{note}</text>')
    return parts, y + height + GAP


def drawing():
    """The whole drawing as SVG."""
    parts, y = [], TOP
    for one in PHASES:
        more, y = phase(y, *one)
        parts += more
    height = y + 22
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="The phases of one training step on two threads">',
        f"<style>{STYLE}</style>",
        f'<rect class="bg" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        '<text class="title" x="16" y="26">One training step: 784-512-512-10, batch of 32</text>',
        '<rect class="a" x="16" y="40" width="12" height="12"/><text x="34" y="51">thread 0</text>',
        '<rect class="b" x="106" y="40" width="12" height="12"/><text x="124" y="51">thread 1</text>',
        '<line class="wall" x1="196" y1="46" x2="224" y2="46"/><text x="230" y="51">end of a phase</text>',
        f'<text class="small" x="16" y="{TOP - 12}">time goes down</text>',
    ]
    foot = [f'<text class="small" x="16" y="{y + 8}">The next batch begins with phase 1.</text>', "</svg>", ""]
    return "\n".join([*head, *parts, *foot])


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[1] / "_static" / "fused-epoch.svg"
    path.write_text(drawing(), encoding="utf-8")

"""Draw the figures of docs/concepts.md as SVG: docs/figures/*.svg.

python scripts/concept_figures.py

The colours are those of Okabe and Ito, which the colour-blind can tell apart; what a colour says is
also said in words. A figure has a ground of its own and follows the reader's light or dark setting.
"""

from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

from fedbridge.core.files import write_text

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "figures"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
TASKS = (BLUE, ORANGE, GREEN, PINK, SKY)
STYLE = """
  .ground { fill: #ffffff } .line { stroke: #333333; fill: none } .text { fill: #222222 }
  .soft { fill: #f0f2f5; stroke: #8a919c } .faint { fill: #5c6370 } .head { fill: #333333 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1e2129 } .line { stroke: #d5d9e0 } .text { fill: #eceff4 }
    .soft { fill: #2b303b; stroke: #7c8594 } .faint { fill: #aab2c0 } .head { fill: #d5d9e0 }
  }
  text { font-family: system-ui, sans-serif; font-size: 13px }
  .small { font-size: 11px } .bold { font-weight: 600 }
"""
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">
<title>{title}</title>
<style>{style}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
 orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>
<rect class="ground" width="{width}" height="{height}" rx="6"/>
{body}
</svg>
"""


def main() -> None:
    """Write every figure."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in figures().items():
        path = FOLDER / name
        write_text(path, text)


def figures() -> dict[str, str]:
    """Return the text of every figure by the name of its file."""
    drawn: dict[str, Callable[[], str]] = {
        "overview.svg": overview,
        "streams.svg": streams,
        "round.svg": one_round,
        "parts.svg": parts,
        "measures.svg": measures,
    }
    return {name: draw() for name, draw in drawn.items()}


def frame(title: str, width: int, height: int, body: list[str]) -> str:
    """Return a whole figure; its title is what is read to those who do not see it."""
    lines = "\n".join(body)
    return FRAME.format(title=escape(title), width=width, height=height, style=STYLE, body=lines)


def box(x: float, y: float, width: float, height: float, fill: str = "") -> str:
    """Return a rectangle, filled with a colour or as softly as a background."""
    look = f'fill="{fill}"' if fill else 'class="soft"'
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" {look}/>'


def text(x: float, y: float, words: str, look: str = "text", anchor: str = "middle") -> str:
    """Return a line of text, by default around ``x``."""
    return f'<text x="{x}" y="{y}" class="{look}" text-anchor="{anchor}">{escape(words)}</text>'


def on(x: float, y: float, words: str, fill: str = "#ffffff") -> str:
    """Return a text that stands on a coloured box."""
    return f'<text x="{x}" y="{y}" class="bold" fill="{fill}" text-anchor="middle">{words}</text>'


def arrow(x1: float, y1: float, x2: float, y2: float, dashed: bool = False) -> str:
    """Return an arrow from one point to another."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    path = f'd="M{x1},{y1} L{x2},{y2}"'
    return f'<path class="line" {path} stroke-width="1.5" marker-end="url(#head)"{dash}/>'


def overview() -> str:
    """Three clients with streams and small models, the FM beside each, and the server."""
    body = [box(560, 40, 180, 290), text(650, 64, "server", "text bold")]
    for place, words in enumerate(("One-by-One", "Distillation (OBOD)", "on the public set U")):
        body.append(text(650, 112 + 18 * place, words))
    body += [text(650, 218, "sums of all clients"), text(650, 236, "for the large side")]
    body += [text(650, 300, "never sees data", "faint small")]
    for k, model in enumerate(("cnn", "mobile", "mixer")):
        y = 40 + 100 * k
        body += [box(20, y, 350, 90), text(32, y + 20, f"client {k + 1}", "text bold", "start")]
        for task in range(4):
            body.append(box(32 + 26 * task, y + 34, 22, 22, TASKS[(task + k) % 4]))
        body.append(text(84, y + 76, "its tasks, over time", "faint small"))
        body += [arrow(140, y + 45, 168, y + 45), box(172, y + 28, 84, 34, BLUE)]
        body += [on(214, y + 50, model), text(214, y + 76, "small model", "faint small")]
        body += [box(276, y + 28, 84, 34, ORANGE), on(318, y + 50, "FM + head", "#222222")]
        body += [arrow(276, y + 45, 260, y + 45), text(318, y + 76, "frozen", "faint small")]
        body += [arrow(374, y + 34, 556, y + 34), arrow(556, y + 62, 374, y + 62)]
    body += [text(465, 66, "small model, sums", "faint small")]
    body += [text(465, 118, "fused model, all sums", "faint small")]
    title = (
        "Three clients with streams of tasks, small models and a frozen FM; a server between them"
    )
    return frame(title, 760, 352, body)


def streams() -> str:
    """Who meets what and when: clients by slots of time."""
    body = [text(70 + 92 * slot + 40, 28, f"slot {slot + 1}", "faint small") for slot in range(5)]
    present = ((0, 4), (0, 4), (2, 4))
    classes = (("ab", "cd", "ef", "gh", "ij"), ("gh", "ab", "ij", "ef", "cd"), ("cd", "ij", "ab"))
    for k, (first, last) in enumerate(present):
        y = 40 + 52 * k
        body.append(text(58, y + 25, f"client {k + 1}", "text", "end"))
        for slot in range(first, last + 1):
            task = slot - first
            pair = classes[k][task]
            colour = TASKS["abcdefghij".index(pair[0]) // 2]
            ink = "#ffffff" if colour in (BLUE, GREEN) else "#222222"
            body += [box(70 + 92 * slot, y, 80, 40, colour)]
            body += [on(110 + 92 * slot, y + 25, f"{pair[0]}, {pair[1]}", ink)]
    body += [text(150, 169, "not there yet", "faint small")]
    body += [arrow(70, 212, 530, 212), text(300, 232, "time", "faint small")]
    title = "A table of clients and slots of time: each task has classes of its own, in own order"
    return frame(title, 560, 244, body)


def one_round() -> str:
    """One round between a client and the server, from top to bottom."""
    body = [text(150, 28, "client k", "text bold"), text(560, 28, "server", "text bold")]
    body += ['<path class="line" d="M150,40 V316 M560,40 V272" stroke-dasharray="2 4"/>']
    body += [
        arrow(556, 64, 154, 64),
        text(355, 57, "the model fused for k; sums G, H", "text small"),
    ]
    steps = (
        (82, BLUE, "accepts as much of it as helps"),
        (122, ORANGE, "solves for its own head"),
        (162, GREEN, "SMCF: learns the task"),
    )
    for y, colour, words in steps:
        ink = "#222222" if colour == ORANGE else "#ffffff"
        body += [box(30, y, 240, 32, colour), on(150, y + 21, words, ink)]
    body += [arrow(154, 218, 556, 218)]
    body += [text(355, 211, "small model; once a task its sums", "text small")]
    body += [box(440, 236, 240, 32, PINK), on(560, 257, "OBOD: distils for each client", "#222222")]
    body += [text(560, 290, "after a task's last round", "faint small")]
    return frame(
        "One round: down, three steps at the client, up, distillation at the server", 700, 330, body
    )


def parts() -> str:
    """How the items of a data set are divided, group by group."""
    shares = (
        (40, 130, BLUE, "test", "only measured"),
        (170, 80, ORANGE, "public U", "no labels"),
        (250, 60, PINK, "val.", "chooses"),
        (310, 330, GREEN, "training", "divided among clients and tasks"),
    )
    body = [text(40, 28, "all items, group by group", "text bold", "start")]
    for x, width, colour, words, role in shares:
        ink = "#222222" if colour in (ORANGE, PINK) else "#ffffff"
        body += [box(x, 44, width - 4, 46, colour), on(x + width / 2 - 2, 72, words, ink)]
        body.append(text(x + width / 2 - 2, 110, role, "faint small"))
    for client, (x, width) in enumerate(((310, 150), (460, 70), (530, 110))):
        body += [box(x, 140, width - 4, 32), text(x + width / 2 - 2, 161, f"client {client + 1}")]
        body.append(arrow(x + width / 2 - 2, 118, x + width / 2 - 2, 136))
    body.append(text(475, 192, "unequal shares: scenario.alpha", "faint small"))
    return frame("Items divided into test, public set, validation and training", 680, 208, body)


def measures() -> str:
    """The table of accuracies, and what the measures read from it."""
    rows = ((50, 48, 52), (94, 51), (81, 92, 55), (70, 84, 93))
    names = ("before", "after task 1", "after task 2", "after task 3")
    body = [text(170 + 90 * j, 28, f"on task {j + 1}", "faint small") for j in range(3)]
    for i, row in enumerate(rows):
        y = 40 + 46 * i
        body.append(text(116, y + 25, names[i], "text", "end"))
        for j, value in enumerate(row):
            filled = BLUE if j < i else ""
            body.append(box(130 + 90 * j, y, 80, 38, filled))
            label = (170 + 90 * j, y + 25, f"{value} %")
            body.append(on(*label) if filled else text(*label, "faint"))
    notes = (
        (60, "grey: a task not learnt yet; what is above"),
        (78, "chance one task ahead is forward transfer"),
        (112, "down a column: what is lost is forgetting,"),
        (130, "last row less diagonal is backward transfer"),
        (190, "the mean of the last row is final accuracy"),
    )
    body += [text(430, y, words, "text small", "start") for y, words in notes]
    return frame(
        "A table of accuracies after each task on each task, and what is read from it",
        700,
        236,
        body,
    )


if __name__ == "__main__":
    main()

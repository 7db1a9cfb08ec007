"""The command line's part about finished runs: ``predict``, ``export``, ``serve``."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedbridge.core.addresses import LOOPBACK

if TYPE_CHECKING:
    from fedbridge.inference import Predictor, Using

ship = typer.Typer(rich_markup_mode=None)
AT_ONCE = 64
Source = Annotated[
    Path, typer.Argument(help="A run's folder, a saved predictor's, or a site's.", metavar="RUN")
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        help="A function, as MODULE:FUNCTION, that a saved predictor may import; may be repeated.",
        metavar="NAME",
    ),
]
Client = Annotated[
    str | None, typer.Option(help="Whose models; needed if the run has several.", metavar="NAME")
]


@ship.command()
def predict(  # noqa: PLR0913, PLR0917 - every option of the command is one
    source: Source,
    files: Annotated[
        list[str],
        typer.Argument(help="Pictures, or files with a text per line; - is stdin.", metavar="FILE"),
    ],
    client: Client = None,
    using: Annotated[
        Literal["small", "large", "together"] | None,
        typer.Option(help="small, large or together; the last that there is by default."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name per item.")] = 1,
    form: Annotated[
        Literal["table", "json"] | None,
        typer.Option("--format", help="table or JSON lines; a table where one can be seen."),
    ] = None,
    trust: Trust = None,
) -> None:
    """Predict with a client's models what pictures or texts are."""
    from fedbridge.inference.restore import predictor_at

    predictor = predictor_at(source, client, trust or ())
    chosen = predictor.chosen(using)
    found = _predicted(predictor, chosen, _items(predictor, files), top)
    if form == "json" or (form is None and not sys.stdout.isatty()):
        _print_lines(found, chosen)
    else:
        _print_table(found, chosen)


@ship.command()
def export(
    source: Source,
    client: Client = None,
    form: Annotated[
        Literal["onnx", "torchscript", "safetensors", "predictor"],
        typer.Option(
            "--format",
            help="The small model as onnx, torchscript or safetensors; or predictor: everything.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="A new folder; below exports/ by default.", metavar="DIR")
    ] = None,
    trust: Trust = None,
) -> None:
    """Write a client's small model for use elsewhere.

    What is written is checked.
    """
    from fedbridge.core.files import file_name
    from fedbridge.inference.export import export as write
    from fedbridge.inference.restore import predictor_at

    predictor = predictor_at(source, client, trust or ())
    name = str(predictor.about.get("client", "client"))
    folder = out or Path("exports") / f"{source.resolve().name}-{file_name(name)}-{form}"
    if form == "predictor":
        predictor.save(folder)
        typer.echo(f"saved: {folder}")
        return
    written = write(predictor, folder, form)
    typer.echo(f"exported: {written.file}")
    typer.echo(f"largest difference from the model's own scores: {written.difference:.2g}")


@ship.command()
def serve(  # noqa: PLR0913, PLR0917 - every option of the command is one
    source: Source,
    client: Client = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8000,
    small: Annotated[
        bool, typer.Option("--small", help="Serve the small model alone: no FM is loaded.")
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="body (bytes), items, letters, pixels or seconds of a request, at most: items=32.",
            metavar="WHAT=N",
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name by which it may be called; may be repeated."),
    ] = None,
    trust: Trust = None,
) -> None:
    """Serve a client's models over HTTP until interrupted.

    /openapi.json says how to ask.
    """
    from fedbridge.inference.restore import predictor_at
    from fedbridge.models import import_extra

    for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        import_extra(module, "serve", "fedbridge serve")
    from fedbridge.inference.serving import limits_of
    from fedbridge.inference.serving.run import serve as start

    limits = limits_of(limit or [])
    predictor = predictor_at(source, client, trust or ())
    if host not in LOOPBACK:
        typer.echo("anybody who reaches this address can ask; docs/shipping.md says what to do")
    start(predictor.only_small() if small else predictor, host, port, limits, names or ())


def _items(predictor: "Predictor", files: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield what to call an item, and the item: a picture's path, or a line that is not empty."""
    for file in files:
        if predictor.reading.modality == "image":
            yield file, Path(file)
            continue
        for number, line in enumerate(_lines(file), start=1):
            if line.strip():
                yield f"{file}:{number}", line.strip()


def _lines(file: str) -> list[str]:
    from fedbridge.core.errors import UserError

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: must be a file of UTF-8 text: {error}") from error
    return text.splitlines()


def _predicted(
    predictor: "Predictor", using: "Using", items: Iterable[tuple[str, Any]], top: int
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield every item's name with its likeliest classes and their probabilities."""
    every = list(items)
    for start in range(0, len(every), AT_ONCE):
        some = every[start : start + AT_ONCE]
        shares = predictor.predict_proba([item for _, item in some], using)
        for (name, _), row in zip(some, shares, strict=True):
            best = (-row).argsort(kind="stable")[:top].tolist()
            yield name, [(predictor.classes[place], float(row[place])) for place in best]


def _print_lines(found: Iterable[tuple[str, list[tuple[str, float]]]], using: str) -> None:
    import json

    for name, best in found:
        guesses = [{"label": label, "probability": round(share, 6)} for label, share in best]
        typer.echo(json.dumps({"item": name, "using": using, "predictions": guesses}))


def _print_table(found: Iterable[tuple[str, list[tuple[str, float]]]], using: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("item", "class", "probability", title=f"using {using}")
    for name, best in found:
        for place, (label, share) in enumerate(best):
            table.add_row(escape(name) if place == 0 else "", escape(label), f"{share:.3f}")
    Console().print(table)

"""How text files hold letters: as it is stated, as they say themselves, or as they can be read."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from fedbridge.config.columns import CSVColumns
from fedbridge.core.errors import UserError
from fedbridge.data.readers.noticing import Notice

PIECE = 1 << 20  # bytes that are looked at at once
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    *((bom, "utf-32") for bom in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((bom, "utf-16") for bom in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
KINDS = {
    b"PK\x03\x04": "an Excel workbook or another zip file; save it as CSV in UTF-8, or as Parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV in UTF-8, or as Parquet",
    b"\x1f\x8b": "a compressed file; unpack it",
    b"PAR1": "a Parquet file; name it as such",
}
"""What files that are no CSV begin with."""


def encoding_of(path: Path, settings: CSVColumns, notice: Notice) -> str:
    """Return the encoding of a CSV file; raise UserError if the file is none, or in none known."""
    where = f"{settings.where}.encoding"
    with path.open("rb") as file:
        head = file.read(4)
    for mark, kind in KINDS.items():
        if head.startswith(mark):
            raise UserError(f"{path}: must be a CSV file, found {kind}")
    if settings.encoding is not None:
        return (
            "utf-8-sig" if codecs.lookup(settings.encoding).name == "utf-8" else settings.encoding
        )
    for bom, encoding in BOMS:
        if head.startswith(bom):
            return encoding
    fault = _fault(path, "utf-8")
    if fault is None:
        return "utf-8"
    if (worse := _fault(path, "cp1252")) is not None:
        raise UserError(
            f"{path}: must be a CSV file in UTF-8, found neither that nor cp1252 (the byte "
            f"{worse.object[worse.start]:#x}); state {where}"
        )
    near = fault.object[max(0, fault.start - 20) : fault.start + 20].decode("cp1252", "replace")
    word = re.search(r"\w*[^\x00-\x7f]+\w*", near)
    notice.guess(
        f"{path.name} in cp1252, as Windows writes in the west, since it is no UTF-8 "
        f"({word[0] if word else near!r}); {where} states it"
    )
    return "cp1252"


def _fault(path: Path, encoding: str) -> UnicodeDecodeError | None:
    """Return why a file is not in an encoding; None if it is."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while piece := file.read(PIECE):
                decoder.decode(piece)
            decoder.decode(b"", True)
        except UnicodeDecodeError as error:
            return error
    return None


def lines_of(path: Path, encoding: str, where: str) -> Iterator[str]:
    """Yield the lines of a file; raise UserError if it holds what no text does."""
    with path.open(encoding=encoding) as file:
        for line in file:
            if "\0" in line:
                raise UserError(
                    f"{path}: must be text, found NUL bytes; if it is UTF-16, state "
                    f"{where}.encoding = 'utf-16-le' or 'utf-16-be'"
                )
            yield line

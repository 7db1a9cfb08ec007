"""What was noticed when data were read, in words, kept with what was prepared from them."""

from dataclasses import dataclass

Lines = tuple[str, ...]


@dataclass(frozen=True)
class Notes:
    """Nothing of this keeps a run from going on; each is a line."""

    guessed: Lines = ()
    """What was inferred about how tables are written, because it is not stated."""
    missing: Lines = ()
    """How many values of a column are missing, and by which words."""
    odd: Lines = ()
    """What is worth a look: doubtful numbers, words that look alike."""

    @property
    def spoken(self) -> Lines:
        """Return what a run says of it, a line each."""
        return (
            *(f"read {line}" for line in self.guessed),
            *(f"missing in {line}" for line in self.missing),
            *self.odd,
        )

    def __add__(self, other: "Notes") -> "Notes":
        """Return both, each line once."""
        return Notes(
            _once(self.guessed + other.guessed),
            _once(self.missing + other.missing),
            _once(self.odd + other.odd),
        )


def _once(lines: Lines) -> Lines:
    return tuple(dict.fromkeys(lines))


NOTHING = Notes()

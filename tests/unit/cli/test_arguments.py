import re

import pytest
from typer.testing import CliRunner

from fedbridge import __version__
from fedbridge.cli.main import app


def told(*arguments):
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0
    return done.output


def test_version():
    assert told("--version") == f"fedbridge {__version__}\n"


@pytest.mark.parametrize(
    "command", ["run", "resume", "check", "list", "report", "compare", "bench"]
)
def test_help_says_what_every_argument_is(command):
    arguments = told(command, "--help").partition("Arguments:\n")[2].partition("\n\n")[0]
    assert re.search(r"\s\w[^[]+\.\s", arguments), arguments

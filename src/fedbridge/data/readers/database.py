"""Rows of a site's database, over SQLAlchemy, which are read and never written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedbridge.config.site import SQL
from fedbridge.core.errors import UserError
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.rows import Partition
from fedbridge.data.readers.sheet import Sheet, require_columns
from fedbridge.data.readers.tables import Located, library, rows_by_task

READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
"""What makes a database refuse to be written to; with others, nothing is committed at least."""


def read_database(settings: SQL, notice: Notice) -> list[Partition]:
    """List the tasks of a table or a query; see partitions_of. No error contains the URL."""
    sqlalchemy = library("sqlalchemy", "sql", "data.kind = 'sql'")
    url = os.environ.get(settings.url_variable)
    if not url:
        raise UserError(
            f"data.url_variable: the environment variable {settings.url_variable} must hold the "
            f"database's URL, found nothing"
        )
    try:
        engine = sqlalchemy.create_engine(url, hide_parameters=True)
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise UserError(
            f"data.url_variable: {settings.url_variable} must hold the URL of a database whose "
            f"driver is installed ({type(error).__name__})"
        ) from None
    _require_file(engine, settings)
    try:
        with engine.connect() as connection:
            rows = _rows(sqlalchemy, connection, settings)
            return rows_by_task(settings, Sheet.typed(settings, notice), rows, "all")
    except sqlalchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or type(error).__name__
        raise UserError(f"{_source(settings)}: the database refuses: {cause}") from None
    finally:
        engine.dispose()


def _require_file(engine: Any, settings: SQL) -> None:
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not Path(file or "").is_file():  # it would be created
        raise UserError(
            f"data.url_variable: {settings.url_variable} must name a database that exists, found "
            f"no file {file!r}"
        )


def _rows(sqlalchemy: Any, connection: Any, settings: SQL) -> Iterator[Located]:
    if command := READ_ONLY.get(connection.dialect.name):
        connection.execute(sqlalchemy.text(command))
    if settings.query is not None:
        query = sqlalchemy.text(settings.query)
    else:
        query = _select(sqlalchemy, connection, settings)
    found = connection.execution_options(stream_results=True).execute(query)
    require_columns(_source(settings), settings, found.keys())
    for number, row in enumerate(found.mappings(), start=1):
        yield f"{_source(settings)}: row {number}", dict(row)


def _select(sqlalchemy: Any, connection: Any, settings: SQL) -> Any:
    prefix, _, name = (settings.table or "").rpartition(".")
    schema = prefix or None
    known = sqlalchemy.inspect(connection).get_columns(name, schema=schema)
    # asked first: SQLite would take the name of a column that is not there for a text
    require_columns(_source(settings), settings, [column["name"] for column in known])
    wanted = [sqlalchemy.column(column) for column in settings.columns]
    return sqlalchemy.select(*wanted).select_from(sqlalchemy.table(name, schema=schema))


def _source(settings: SQL) -> str:
    return f"table {settings.table}" if settings.table else "the query of data.query"

"""A real database in a file: read over SQLAlchemy, never written, its URL never told."""

import sqlite3

import pytest

from fedbridge.core.errors import UserError
from fedbridge.data.site import partitions_of
from sites import rows, site

TABLE = rows(50)


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "clinic.sqlite"
    connection = sqlite3.connect(path)
    columns = ", ".join(TABLE[0])
    connection.execute(f"create table notes ({columns})")
    marks = ", ".join("?" * len(TABLE[0]))
    connection.executemany(
        f"insert into notes values ({marks})", [tuple(row.values()) for row in TABLE]
    )
    connection.execute("create view recent as select text, label from notes where task = 'task-2'")
    connection.commit()
    connection.close()
    monkeypatch.setenv("NOTES", f"sqlite:///{path}")
    return path


def read(folder, **settings):
    return partitions_of(site(folder, kind="sql", url_variable="NOTES", **settings))


def refused(folder, **settings) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, **settings)
    return str(caught.value)


def test_a_table_with_tasks(tmp_path, database):
    found = read(tmp_path, table="notes", text="text", task="task")
    assert [one.name for one in found] == ["task-1", "task-2"]
    contents = [row.content for one in found for row in one.rows()]
    assert contents == [row["text"] for row in TABLE]


def test_a_view_and_a_query(tmp_path, database):
    (view,) = read(tmp_path, table="recent", text="text")
    query = "SELECT text, label FROM notes WHERE task = 'task-2'"
    (found,) = read(tmp_path, query=query, text="text")
    assert [row.content for row in found.rows()] == [row.content for row in view.rows()]
    assert len(list(found.rows())) == 10


def test_columns_of_numbers(tmp_path, database):
    (found,) = read(tmp_path, table="notes", features=["weight", "colour"])
    assert next(iter(found.rows())).content.text == "weight: 0.7, colour: red"


@pytest.mark.parametrize("column", ["nothing", "Nothing"])  # SQLite takes the second for a text
def test_a_column_that_is_not_there_is_refused(tmp_path, database, column):
    message = refused(tmp_path, table="notes", text=column)
    assert message.startswith("table notes: data.text: must be one of the columns text, label")
    assert f"found '{column}'" in message


def test_a_query_without_a_column_is_refused(tmp_path, database):
    message = refused(tmp_path, query="select text from notes", text="text")
    assert message.startswith("the query of data.query: data.label: must be one of the columns")


def test_nothing_is_written_even_by_a_query_that_begins_like_one_that_reads(tmp_path, database):
    query = "WITH old AS (SELECT 1) DELETE FROM notes"
    assert "readonly" in refused(tmp_path, query=query, text="text")
    (found,) = read(tmp_path, table="notes", text="text")
    assert len(list(found.rows())) == len(TABLE)


def test_a_table_that_is_not_there_is_refused(tmp_path, database):
    assert "table others: the database refuses" in refused(tmp_path, table="others", text="text")


def test_no_error_tells_the_url(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTES", "sqlite://me:secret@/nowhere.sqlite")
    assert "secret" not in refused(tmp_path, table="notes", text="text")
    monkeypatch.setenv("NOTES", "me:secret")
    message = refused(tmp_path, table="notes", text="text")
    assert message.startswith("data.url_variable: NOTES must hold the URL of a database")
    assert "secret" not in message


def test_a_database_that_is_not_there_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTES", f"sqlite:///{tmp_path}/none.sqlite")
    assert "must name a database that exists" in refused(tmp_path, table="notes", text="text")
    assert not (tmp_path / "none.sqlite").exists()


def test_without_a_url_the_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTES", raising=False)
    message = refused(tmp_path, table="notes", text="text")
    assert message == (
        "data.url_variable: the environment variable NOTES must hold the database's URL, found "
        "nothing"
    )

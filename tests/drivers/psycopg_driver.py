"""psycopg 3 through whatever lies between: text and binary, pipelines, COPY, errors, cursors.

Takes a libpq connection string; prints one line for every part that worked.
"""

import datetime
import decimal
import sys
import uuid

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

dsn = sys.argv[1]
VALUES = (
    True, 42, 2**40, 1.5, decimal.Decimal("12345.67890"), "naïve 'quoted' \\ text", b"\x00\xff\n",
    datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, 1, 5000),
    uuid.UUID("12345678-1234-5678-1234-567812345678"), Jsonb({"a": [1, None]}), [1, 2, None], None,
)
TYPES = (
    "bool", "int4", "int8", "float8", "numeric", "text", "bytea", "date", "timestamp", "uuid",
    "jsonb", "int4[]", "text",
)


def done(what):
    print("ok", what, flush=True)


def round_trip(conn, binary):
    marks = ", ".join(f"%{'b' if binary else 't'}::{kind}" for kind in TYPES)
    cur = conn.cursor(binary=binary)
    for _ in range(8):  # psycopg prepares on the server after five times
        row = cur.execute(f"select {marks}", VALUES).fetchone()
        seen = tuple(value.obj if isinstance(value, Jsonb) else value for value in VALUES)
        assert row == seen, (row, seen)


def main():
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert conn.execute("select 41 + 1").fetchone() == (42,)
        done("simple")
        round_trip(conn, False)
        done("text")
        round_trip(conn, True)
        done("binary")

        conn.execute("create table if not exists t_psycopg (id int primary key, v text)")
        conn.execute("truncate t_psycopg")
        with conn.pipeline() as pipe:
            cursors = [
                conn.execute("insert into t_psycopg values (%s, %s) returning id", (n, f"v{n}"))
                for n in range(100)
            ]
            pipe.sync()
            assert [cur.fetchone()[0] for cur in cursors] == list(range(100))
        done("pipeline")

        try:
            with conn.pipeline():
                conn.execute("insert into t_psycopg values (1000, 'x')")
                conn.execute("select 1/0")
                conn.execute("insert into t_psycopg values (1001, 'x')")
            raise AssertionError("the division passed")
        except psycopg.errors.DivisionByZero:
            pass
        except psycopg.errors.PipelineAborted:
            pass
        assert conn.execute("select count(*) from t_psycopg where id >= 1000").fetchone() == (0,)
        done("pipeline error")

        with conn.transaction():
            conn.execute("insert into t_psycopg values (500, 'x')")
            try:
                with conn.transaction():
                    conn.execute("insert into t_psycopg values (500, 'again')")
            except psycopg.errors.UniqueViolation as error:
                assert error.diag.constraint_name == "t_psycopg_pkey", error.diag.constraint_name
        assert conn.execute("select v from t_psycopg where id = 500").fetchone() == ("x",)
        done("savepoint")

        rows = [(n, f"copied\t{n}\\") for n in range(2000, 5000)]
        with conn.cursor() as cur:
            with cur.copy("copy t_psycopg from stdin (format binary)") as copy:
                copy.set_types(["int4", "text"])
                for row in rows:
                    copy.write_row(row)
            with cur.copy("copy (select * from t_psycopg where id >= 2000 order by id) to stdout") as copy:
                copy.set_types(["int4", "text"])
                assert list(copy.rows()) == rows
        done("copy")

        with conn.transaction(), conn.cursor("named", scrollable=True) as cur:
            cur.execute("select g from generate_series(1, 1000) g")
            cur.itersize = 37
            assert sum(row[0] for row in cur) == 500500
        done("server cursor")

        notices = []
        conn.add_notice_handler(lambda diag: notices.append(diag.message_primary))
        conn.execute("do $$ begin raise notice 'hello %', 7; end $$")
        assert notices == ["hello 7"], notices
        done("notice")

        conn.execute("listen channel_psycopg")
        conn.execute("select pg_notify('channel_psycopg', 'payload')")
        for notification in conn.notifies(timeout=10, stop_after=1):
            assert notification.payload == "payload"
            done("notify")

        with conn.cursor() as cur:
            cur.executemany(
                sql.SQL("update {} set v = %s where id = %s").format(sql.Identifier("t_psycopg")),
                [(f"w{n}", n) for n in range(100)],
            )
        assert conn.execute("select count(*) from t_psycopg where v like 'w%'").fetchone() == (100,)
        done("executemany")

        large = "x" * 5_000_000
        assert conn.execute("select %s::text", (large,)).fetchone() == (large,)
        done("large value")
        conn.execute("drop table t_psycopg")


main()

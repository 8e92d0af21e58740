"""Dialogues that need a hand on the protocol: what the client sees of each, line by line."""

import socket
import sys
import time

import psycopg
from psycopg import pq


def connect(dsn):
    conn = pq.PGconn.connect(dsn.encode())
    assert conn.status == pq.ConnStatus.OK, conn.error_message.decode()
    return conn


def shown(name, result):
    """One result: its rows, or its error with everything that goes with it."""
    status = pq.ExecStatus(result.status)
    if status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        rows = [
            ",".join(
                (result.get_value(row, column) or b"").decode()
                for column in range(result.nfields)
            )
            for row in range(min(result.ntuples, 20))
        ]
        print(f"{name}: ok {result.ntuples} {rows}", flush=True)
    else:
        parts = [
            result.error_field(field)
            for field in (
                pq.DiagnosticField.SEVERITY,
                pq.DiagnosticField.SQLSTATE,
                pq.DiagnosticField.MESSAGE_PRIMARY,
                pq.DiagnosticField.MESSAGE_DETAIL,
            )
        ]
        text = " ".join((part or b"").decode() for part in parts)
        whole = result.error_message.decode().replace("\n", " ")
        print(f"{name}: {status.name} {text} | {whole}", flush=True)


def query(conn, name, text):
    shown(name, conn.exec_(text.encode()))


def names(dsn):
    """A statement that runs another by its name, prepared while the name meant something else."""
    conn = connect(dsn)
    query(conn, "prepare", "prepare p as select 'x'::text")
    shown("parse", conn.prepare(b"s1", b"execute p"))
    shown("first", conn.exec_prepared(b"s1", []))
    query(conn, "deallocate", "deallocate p")
    query(conn, "again", "prepare p as select reverse(ssn) from sales.customers order by id")
    shown("second", conn.exec_prepared(b"s1", []))


def cursors(dsn):
    """A cursor's name outlives neither its transaction nor its undoing."""
    conn = connect(dsn)
    for text in ("begin", "declare c cursor for select 1", "fetch c", "commit", "fetch c"):
        query(conn, text, text)
    for text in ("begin", "declare h cursor with hold for select 2", "rollback", "fetch h"):
        query(conn, text, text)
    for text in ("begin", "declare k cursor with hold for select 3", "commit", "fetch k"):
        query(conn, text, text)


def late(dsn):
    """An error that comes when the transaction ends, or with no statement at all."""
    conn = connect(dsn)
    for text in ("begin", "delete from sales.customers where id = 1", "commit"):
        query(conn, text, text)
    query(conn, "alone", "delete from sales.customers where id = 1")
    shown(
        "extended",
        conn.exec_params(b"delete from sales.customers where id = 1", []),
    )
    query(conn, "after", "select 1")
    # What was not looked at further than its text says what is wrong with it.
    shown("text", conn.exec_params(b"select 1 from sales.customers where nothing = 1", []))


def limits(dsn):
    """An answer over its limit, alone, and with more behind it."""
    conn = connect(dsn)
    query(conn, "simple", "select * from sales.orders")
    query(conn, "goes on", "select 1")
    shown("extended", conn.exec_params(b"select * from sales.orders", []))
    query(conn, "goes on too", "select 2")
    conn.enter_pipeline_mode()
    conn.send_query_params(b"select * from sales.orders", [])
    conn.send_query_params(b"select 'behind'", [])
    conn.pipeline_sync()
    while conn.status == pq.ConnStatus.OK:
        result = conn.get_result()
        if result is None:
            result = conn.get_result()
        if result is None or result.status == pq.ExecStatus.PIPELINE_SYNC:
            break
        shown("pipeline", result)
    print("status", pq.ConnStatus(conn.status).name, flush=True)


def flood(dsn):
    """Copy data without end behind a statement that takes its time."""
    conn = connect(dsn)
    conn.send_query(b"select count(*) from generate_series(1, 40000000)")
    while conn.flush():
        pass
    raw = socket.socket(fileno=conn.socket)
    raw.settimeout(2)
    frame = b"d" + (4 + (1 << 16)).to_bytes(4, "big") + bytes(1 << 16)
    sent = 0
    try:
        while sent < 400 << 20:
            raw.sendall(frame)
            sent += len(frame)
    except (TimeoutError, OSError):
        pass
    print("sent", sent, flush=True)
    raw.detach()


def deaf(dsn):
    """Asks for more than it ever reads."""
    conn = connect(dsn)
    conn.send_query(b"select repeat('x', 1000) from generate_series(1, 100000000)")
    while conn.flush():
        pass
    print("asked", flush=True)
    time.sleep(60)


def huge(dsn):
    """One row of 100 MB, and reads nothing of it until the statement is overdue."""
    conn = connect(dsn)
    conn.send_query(b"select repeat('x', 100000000)")
    conn.set_single_row_mode()
    while conn.flush():
        pass
    time.sleep(5)
    while result := conn.get_result():
        if result.ntuples:
            print("row", len(result.get_value(0, 0)), flush=True)
        else:
            shown("end", result)


def encoding(dsn):
    """A function that changes how statements are read."""
    conn = connect(dsn)
    query(conn, "before", "select 1")
    conn.send_query(b"select sales.sly()")
    while result := conn.get_result():
        shown("change", result)
    print("status", pq.ConnStatus(conn.status).name, flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])

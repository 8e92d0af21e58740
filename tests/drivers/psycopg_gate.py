"""A transaction whose COMMIT a human refuses, and one whose COMMIT is approved."""

import sys

import psycopg
from psycopg.pq import TransactionStatus

with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("delete from app.t where id = %s", (1,))
    try:
        connection.commit()
    except psycopg.errors.QueryCanceled as error:
        assert "rolled back" in str(error), error
        print("ok rolled back")
    assert connection.info.transaction_status == TransactionStatus.IDLE
    print("ok idle")
    row = connection.execute("select count(*) from app.t where id = 1").fetchone()
    assert row == (1,), row
    connection.rollback()
    with connection.transaction():
        connection.execute("delete from app.t where id = %s", (1,))
    assert connection.info.transaction_status == TransactionStatus.IDLE
    row = connection.execute("select count(*) from app.t where id = 1").fetchone()
    assert row == (0,), row
    print("ok committed")

"""asyncpg through whatever lies between. Arguments: host, address, port, user, password, database,
sslmode, file of roots. It speaks the extended protocol and binary only.
"""

import asyncio
import datetime
import decimal
import ssl
import sys
import uuid

import asyncpg

host, address, port, user, password, database, sslmode, roots = sys.argv[1:9]


def done(what):
    print("ok", what, flush=True)


def context():
    if sslmode == "disable":
        return False
    made = ssl.create_default_context(cafile=roots)
    if sslmode == "require":
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    else:
        made.check_hostname = True
    return made


async def connect():
    return await asyncpg.connect(
        host=address, port=int(port), user=user, password=password, database=database,
        ssl=context(), timeout=15,
    )


async def main():
    conn = await connect()
    assert await conn.fetchval("select 41 + 1") == 42
    done("value")

    values = (
        True, 42, 2**40, 1.5, decimal.Decimal("12345.67890"), "naïve \\ 'text'", b"\x00\xff\n",
        datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, 1, 5000),
        uuid.UUID("12345678-1234-5678-1234-567812345678"), [1, 2, None], None,
    )
    kinds = (
        "bool", "int4", "int8", "float8", "numeric", "text", "bytea", "date", "timestamp", "uuid",
        "int4[]", "text",
    )
    text = "select " + ", ".join(f"${n}::{kind}" for n, kind in enumerate(kinds, 1))
    statement = await conn.prepare(text)
    for _ in range(20):
        assert tuple(await statement.fetchrow(*values)) == values
    done("prepared")

    await conn.execute("create table if not exists t_asyncpg (id int primary key, v text)")
    await conn.execute("truncate t_asyncpg")
    await conn.executemany(
        "insert into t_asyncpg values ($1, $2)", [(n, f"v{n}") for n in range(1000)]
    )
    assert await conn.fetchval("select count(*) from t_asyncpg") == 1000
    done("executemany")

    async with conn.transaction():
        total = 0
        async for row in conn.cursor("select id from t_asyncpg order by id", prefetch=37):
            total += row["id"]
        assert total == 499500
    done("cursor")

    try:
        async with conn.transaction():
            await conn.execute("insert into t_asyncpg values (5000, 'x')")
            await conn.execute("insert into t_asyncpg values (1, 'x')")
    except asyncpg.UniqueViolationError as error:
        assert error.constraint_name == "t_asyncpg_pkey"
    assert await conn.fetchval("select count(*) from t_asyncpg") == 1000
    done("error")

    records = [(n, f"c\t{n}") for n in range(10000, 15000)]
    await conn.copy_records_to_table("t_asyncpg", records=records)
    parts = []

    async def collect(data):
        parts.append(data)

    await conn.copy_from_query(
        "select id, v from t_asyncpg where id >= 10000 order by id", output=collect, format="csv"
    )
    assert b"".join(parts).count(b"\n") == 5000
    done("copy")

    heard = asyncio.Queue()
    await conn.add_listener("channel_asyncpg", lambda *words: heard.put_nowait(words[3]))
    await conn.execute("notify channel_asyncpg, 'payload'")
    assert await asyncio.wait_for(heard.get(), 10) == "payload"
    done("notify")

    try:
        await conn.fetchval("select pg_sleep(30)", timeout=0.3)
        raise AssertionError("the sleep ended")
    except asyncio.TimeoutError:
        pass  # asyncpg sent a CancelRequest
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1
    done("cancel")

    await conn.execute("drop table t_asyncpg")
    await conn.close()

    pool = await asyncpg.create_pool(
        host=address, port=int(port), user=user, password=password, database=database,
        ssl=context(), min_size=4, max_size=4,
    )
    sums = await asyncio.gather(*(pool.fetchval("select $1::int + 1", n) for n in range(200)))
    assert sums == list(range(1, 201))
    await pool.close()
    done("pool")


asyncio.run(main())

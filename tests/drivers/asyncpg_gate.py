"""A transaction whose COMMIT a human refuses, and one whose COMMIT is approved."""

import asyncio
import sys

import asyncpg


async def main():
    _name, address, port, user, password, database, _tls, _roots = sys.argv[1:]
    connection = await asyncpg.connect(
        host=address,
        port=int(port),
        user=user,
        password=password,
        database=database,
        ssl=False,
    )
    try:
        async with connection.transaction():
            await connection.execute("delete from app.t where id = $1", 2)
    except asyncpg.QueryCanceledError as error:
        assert "rolled back" in str(error), error
        print("ok rolled back")
    assert not connection.is_in_transaction()
    print("ok idle")
    assert await connection.fetchval("select count(*) from app.t where id = 2") == 1
    async with connection.transaction():
        await connection.execute("delete from app.t where id = $1", 2)
    assert await connection.fetchval("select count(*) from app.t where id = 2") == 0
    print("ok committed")
    await connection.close()


asyncio.run(main())

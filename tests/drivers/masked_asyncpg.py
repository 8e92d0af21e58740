"""asyncpg reads tables whose columns are masked; it asks for binary. Arguments: host, address, port, user,
password, database, sslmode, file of roots, then the tables.
"""

import asyncio
import sys

import asyncpg

host, address, port, user, password, database, sslmode, roots, *tables = sys.argv[1:]


async def main():
    conn = await asyncpg.connect(
        host=address, port=int(port), user=user, password=password, database=database, ssl=False, timeout=15,
        # Else it turns jit off to look types up, and on again by a set_config that does not say to what.
        server_settings={"jit": "off"},
    )
    for table in tables:
        rows = await conn.fetch(f"select * from typed.{table} order by id")
        assert [row["id"] for row in rows] == [1, 2, 3], rows
        # It leaves JSON as its text.
        print(f"{table}:", *(name for name, value in rows[0].items() if value not in (None, "null")))
        print("shown", rows)
    await conn.close()


asyncio.run(main())

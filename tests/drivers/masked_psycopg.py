"""psycopg 3 reads tables whose columns are masked, in text and in binary, and wants the same from both.

Takes a libpq connection string and the tables; prints for each which columns of its first row have a value.
"""

import sys

import psycopg

dsn, tables = sys.argv[1], sys.argv[2:]


def main():
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("set timezone to 'UTC'")
        for table in tables:
            query = f"select * from typed.{table} order by id"
            cur = conn.cursor(binary=False)
            text = cur.execute(query).fetchall()
            names = [column.name for column in cur.description]
            binary = conn.cursor(binary=True).execute(query).fetchall()
            assert [row[0] for row in text] == [1, 2, 3], text
            same = 0
            for one, other in zip(text, binary, strict=True):
                for name, seen, again in zip(names, one, other, strict=True):
                    assert (seen is None) == (again is None), (table, name, seen, again)
                    # What psycopg has no loader for it leaves as bytes in binary, as text in text.
                    if type(seen) is type(again):
                        assert repr(seen) == repr(again), (table, name, seen, again)
                        same += 1
            assert same > 2 * len(names), same
            print(f"{table}:", *(name for name, value in zip(names, text[0]) if value is not None))
            print("shown", text, binary)


main()

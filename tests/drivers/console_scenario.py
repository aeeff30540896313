"""The console (database pgdial) by psycopg 3 and asyncpg: tables in text and binary, transactions they open, errors."""

import argparse
import asyncio
import sys

import asyncpg
import psycopg
from psycopg import conninfo, errors

TABLES = "POOLS STATS STATS_TOTALS STATS_AVERAGES TOTALS DATABASES LISTS CONFIG VERSION CLIENTS SERVERS USERS MEM STATE PINS".split()


def by_psycopg(dsn: str, autocommit: bool) -> None:
    with psycopg.connect(dsn, autocommit=autocommit) as conn:
        for table in TABLES:
            cursor = conn.execute("SHOW " + table)
            with conn.cursor(binary=True) as binary:
                binary.execute("SHOW " + table)
                assert [c.name for c in binary.description] == [c.name for c in cursor.description], table
                assert [len(row) for row in binary] == [len(row) for row in cursor], table
        for _ in range(8):  # the sixth run of one text becomes a prepared statement
            lists = dict(conn.execute("SHOW LISTS").fetchall())
            assert lists["databases"] == 2, lists
        try:
            conn.execute("select * from orders")
            raise AssertionError("the console is no database")
        except errors.SyntaxError:
            conn.rollback()
        assert conn.execute("SHOW VERSION").fetchone()[0].startswith("pgdial ")


async def by_asyncpg(dsn: str) -> None:
    pool = await asyncpg.create_pool(dsn, min_size=2, max_size=4)
    async with pool:
        for table in TABLES:
            await pool.fetch("SHOW " + table)
        async with pool.acquire() as conn, conn.transaction():
            keys = [row["key"] async for row in conn.cursor("SHOW CONFIG", prefetch=5)]
            assert "pool.size" in keys, keys


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    parts = conninfo.conninfo_to_dict(parser.parse_args().dsn)
    dsn = conninfo.make_conninfo(**{**parts, "dbname": "pgdial"})
    by_psycopg(dsn, True)
    by_psycopg(dsn, False)
    url = parser.parse_args().dsn
    head, _, query = url.partition("?")
    asyncio.run(by_asyncpg(head.rsplit("/", 1)[0] + "/pgdial" + ("?" + query if query else "")))
    print("console: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())

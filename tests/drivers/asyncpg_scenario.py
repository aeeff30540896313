"""asyncpg: prepared statements, transactions, cursors, COPY, a pool of 16, errors, cancellation by time-out."""

import argparse
import asyncio
import datetime
import sys
import uuid

import asyncpg


async def basics(dsn: str, table: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(f"create table {table} (a int primary key, b text, c numeric, d timestamptz default now(), e int[])")
        insert = await conn.prepare(f"insert into {table} (a, b, e) values ($1, $2, $3)")
        for i in range(30):
            await insert.fetch(i, f"row {i}", [i, i + 1])
        await conn.executemany(f"insert into {table} (a, b) values ($1, $2)", [(i, f"row {i}") for i in range(30, 60)])
        row = await conn.fetchrow(f"select b, e, d from {table} where a = $1", 7)
        assert row["b"] == "row 7" and row["e"] == [7, 8] and isinstance(row["d"], datetime.datetime), row
        try:
            await conn.execute(f"insert into {table} (a) values ($1)", 1)
            raise AssertionError("a duplicate went in")
        except asyncpg.UniqueViolationError as error:
            assert error.constraint_name == f"{table}_pkey"
        try:
            await conn.fetch("selec 1")
            raise AssertionError("a syntax error passed")
        except asyncpg.PostgresSyntaxError:
            pass
        assert await conn.fetchval("select 1") == 1
    finally:
        await conn.close()


async def transactions(dsn: str, table: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        async with conn.transaction():
            await conn.execute(f"update {table} set b = 'changed' where a = 1")
            try:
                async with conn.transaction():
                    await conn.execute("select 1/0")
            except asyncpg.DivisionByZeroError:
                pass
            seen = [row["a"] async for row in conn.cursor(f"select a from {table} order by a", prefetch=7)]
            assert seen == list(range(60)), seen
        tx = conn.transaction(isolation="serializable")
        await tx.start()
        await conn.execute(f"delete from {table}")
        await tx.rollback()
        assert await conn.fetchval(f"select count(*) from {table}") == 60
    finally:
        await conn.close()


async def copies(dsn: str, table: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        records = [(i, "copied " * 30) for i in range(100, 3100)]  # over 2,335 binary rows
        await conn.copy_records_to_table(table, records=records, columns=["a", "b"])
        chunks = bytearray()

        async def keep(data: bytes) -> None:
            chunks.extend(data)

        await conn.copy_from_query(f"select a from {table} where a >= 100 order by a", output=keep, format="csv")
        assert [int(line) for line in chunks.split()] == list(range(100, 3100))
        try:
            await conn.copy_records_to_table(table, records=[(1, "twice")], columns=["a", "b"])
            raise AssertionError("a duplicate went in")
        except asyncpg.UniqueViolationError:
            pass
        assert await conn.fetchval("select 2") == 2
    finally:
        await conn.close()


async def timeouts(dsn: str, table: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        for _ in range(3):
            try:
                await conn.fetchval("select pg_sleep(20)", timeout=0.3)
                raise AssertionError("the time-out did not come")
            except asyncio.TimeoutError:
                pass
            assert await conn.fetchval(f"select count(*) from {table} where a = $1", 1) == 1
    finally:
        await conn.close()


async def concurrent(dsn: str, table: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=16, max_size=16) as pool:

        async def work(number: int) -> None:
            for i in range(40):
                async with pool.acquire() as conn:
                    value = await conn.fetchval(f"select $1::text from {table} where a = $2", f"{number}/{i}", i)
                    assert value == f"{number}/{i}", value
                    async with conn.transaction():
                        await conn.execute(f"update {table} set c = coalesce(c, 0) + 1 where a = $1", number)

        await asyncio.gather(*(work(number) for number in range(16)))


async def run(dsn: str) -> None:
    table = "asyncpg_" + uuid.uuid4().hex[:8]
    try:
        for step in (basics, transactions, copies, timeouts, concurrent):
            await step(dsn, table)
            print(f"asyncpg {asyncpg.__version__}: {step.__name__} ok")
    finally:
        conn = await asyncpg.connect(dsn)
        await conn.execute(f"drop table if exists {table}")
        await conn.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    asyncio.run(run(parser.parse_args().dsn))


if __name__ == "__main__":
    sys.exit(main())

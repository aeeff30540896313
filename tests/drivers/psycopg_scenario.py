"""psycopg 3: transactions, server-side prepared statements, COPY, pipelines, cursors, errors, 16 threads, asyncio."""

import argparse
import asyncio
import sys
import threading
import uuid

import psycopg
from psycopg import errors


def basics(dsn: str, table: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"create table {table} (a int primary key, b text, c numeric, d timestamptz default now())")
        for i in range(30):  # the sixth run of one text becomes a prepared statement
            conn.execute(f"insert into {table} (a, b, c) values (%s, %s, %s)", (i, f"row {i}", i / 2))
        for i in range(30):
            row = conn.execute(f"select b, c from {table} where a = %s", (i,), prepare=True).fetchone()
            assert row[0] == f"row {i}", row
        assert conn.execute(f"select count(*) from {table}", binary=True).fetchone()[0] == 30
        try:
            conn.execute(f"insert into {table} (a) values (1)")
            raise AssertionError("a duplicate went in")
        except errors.UniqueViolation as error:
            assert error.diag.constraint_name == f"{table}_pkey", error.diag.constraint_name
        assert conn.execute("select 1").fetchone() == (1,)


def transactions(dsn: str, table: str) -> None:
    with psycopg.connect(dsn) as conn:
        with conn.transaction():
            conn.execute(f"update {table} set b = 'changed' where a = 1")
            try:
                with conn.transaction():  # a savepoint
                    conn.execute("select 1/0")
            except errors.DivisionByZero:
                pass
            conn.execute(f"update {table} set b = 'changed' where a = 2")
        try:
            with conn.transaction():
                conn.execute(f"delete from {table}")
                raise RuntimeError("back")
        except RuntimeError:
            pass
        found = conn.execute(f"select count(*) from {table} where b = 'changed'").fetchone()
        assert found == (2,), found
        conn.rollback()
        with conn.cursor("server_side") as cursor:
            cursor.itersize = 7
            cursor.execute(f"select a from {table} order by a")
            assert [row[0] for row in cursor] == list(range(30))


def copies(dsn: str, table: str) -> None:
    with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
        with cursor.copy(f"copy {table} (a, b) from stdin") as copy:
            for i in range(100, 1100):
                copy.write_row((i, "copied " * 20))
        with cursor.copy(f"copy (select a from {table} where a >= 100 order by a) to stdout (format binary)") as copy:
            copy.set_types(["int4"])
            assert [row[0] for row in copy.rows()] == list(range(100, 1100))
        conn.commit()
        try:
            with cursor.copy(f"copy {table} (a) from stdin") as copy:
                copy.write("not a number\n")
            raise AssertionError("a bad row went in")
        except errors.InvalidTextRepresentation:
            conn.rollback()
        assert cursor.execute(f"select count(*) from {table}").fetchone() == (1030,)


def pipelines(dsn: str, table: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        with conn.pipeline():
            cursors = [conn.execute(f"select b, %s::int from {table} where a = %s", (i, i)) for i in range(20)]
            assert [cursor.fetchone()[1] for cursor in cursors] == list(range(20))
        try:
            with conn.pipeline():
                conn.execute(f"insert into {table} (a) values (5000)")
                conn.execute("select 1/0")
                conn.execute(f"insert into {table} (a) values (5001)")
        except errors.DivisionByZero:
            pass
        found = conn.execute(f"select count(*) from {table} where a >= 5000").fetchone()
        assert found == (0,), found


def concurrent(dsn: str, table: str) -> None:
    failures = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as conn:
                for i in range(40):
                    row = conn.execute(f"select %s::text, b from {table} where a = %s", (f"{number}/{i}", i % 30)).fetchone()
                    assert row[0] == f"{number}/{i}", row
                    with conn.transaction():
                        conn.execute(f"update {table} set c = coalesce(c, 0) + 1 where a = %s", (number,))
        except Exception as error:  # reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


async def with_asyncio(dsn: str, table: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        task = asyncio.create_task(conn.execute("select pg_sleep(20)"))
        await asyncio.sleep(0.3)
        conn.cancel()
        try:
            await task
            raise AssertionError("a cancelled query came to its end")
        except errors.QueryCanceled:
            pass
        assert await (await conn.execute(f"select count(*) from {table}")).fetchone() == (1030,)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    dsn = parser.parse_args().dsn
    table = "psycopg_" + uuid.uuid4().hex[:8]
    try:
        basics(dsn, table)
        for step in (transactions, copies, pipelines, concurrent):
            step(dsn, table)
            print(f"psycopg {psycopg.__version__}: {step.__name__} ok")
        asyncio.run(with_asyncio(dsn, table))
    finally:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f"drop table if exists {table}")


if __name__ == "__main__":
    sys.exit(main())

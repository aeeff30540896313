"""SQLAlchemy on psycopg 3: an ORM model, sessions with rollback and savepoint, a connection pool, reflection."""

import argparse
import sys
import threading
import uuid

import sqlalchemy as sa
from sqlalchemy import orm


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    dsn = parser.parse_args().dsn.replace("postgresql://", "postgresql+psycopg://").replace("postgres://", "postgresql+psycopg://")
    engine = sa.create_engine(dsn, pool_size=16, pool_pre_ping=True)
    base = orm.declarative_base()
    suffix = uuid.uuid4().hex[:8]

    class Author(base):
        __tablename__ = f"authors_{suffix}"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String(50), unique=True, nullable=False)
        books = orm.relationship("Book", back_populates="author", cascade="all, delete-orphan")

    class Book(base):
        __tablename__ = f"books_{suffix}"
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.Text)
        data = sa.Column(sa.JSON)
        author_id = sa.Column(sa.ForeignKey(Author.id))
        author = orm.relationship(Author, back_populates="books")

    base.metadata.create_all(engine)
    try:
        with orm.Session(engine) as session:
            for i in range(20):
                books = [Book(title=f"book {i}/{j}", data={"page": j}) for j in range(3)]
                session.add(Author(name=f"author {i}", books=books))
            session.commit()
            query = sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id)
            authors = session.scalars(query).all()
            assert len(authors) == 20 and all(len(author.books) == 3 for author in authors)
            session.add(Author(name="author 1"))
            try:
                session.commit()
                raise AssertionError("a duplicate went in")
            except sa.exc.IntegrityError:
                session.rollback()
            with session.begin_nested() as savepoint:
                session.execute(sa.delete(Book))
                savepoint.rollback()
            session.delete(session.scalars(sa.select(Author).where(Author.name == "author 3")).one())
            session.commit()
            assert session.scalar(sa.select(sa.func.count()).select_from(Book)) == 57

        failures = []

        def work(number: int) -> None:
            try:
                for i in range(20):
                    with orm.Session(engine) as session, session.begin():
                        book = session.scalars(sa.select(Book).order_by(Book.id).limit(1).offset(number)).one()
                        book.data = {"writer": number, "turn": i}
                        key = book.id
                    with orm.Session(engine) as session:
                        assert session.get(Book, key).data == {"writer": number, "turn": i}
            except Exception as error:  # reported by the main thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        assert f"books_{suffix}" in sa.inspect(engine).get_table_names()
        print(f"SQLAlchemy {sa.__version__}: ok")
    finally:
        base.metadata.drop_all(engine)
        engine.dispose()


if __name__ == "__main__":
    sys.exit(main())

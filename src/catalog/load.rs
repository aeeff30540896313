//! Floor 3. Reads a whole catalog, in one snapshot of Postgres's.

use tokio_postgres::{Client, Error, Row};

use crate::pg::Oid;
use crate::query::{CastRow, FunctionRow, OperatorRow, RelationRow, RoleRow, Rows, SchemaRow, Snapshot, TypeRow};

/// One text that is equal as long as the catalog is.
pub(super) const DRIFT: &str = include_str!("drift.sql");
const SCHEMAS: &str = include_str!("schemas.sql");
const ROLES: &str = include_str!("roles.sql");
const TYPES: &str = include_str!("types.sql");
const CASTS: &str = include_str!("casts.sql");
const FUNCTIONS: &str = include_str!("functions.sql");
const OPERATORS: &str = include_str!("operators.sql");
const RELATIONS: &str = include_str!("relations.sql");

/// Reads the catalog of the database that `client` is connected to. The result carries `version`, which the caller took before.
/// The fingerprint and the rows are of the same moment.
pub async fn load(client: &Client, version: u64) -> Result<Snapshot, Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog").await?;
    let fingerprint: String = client.query_one(DRIFT, &[]).await?.try_get(0)?;
    let rows = Rows {
        schemas: read(client, SCHEMAS, schema).await?,
        roles: read(client, ROLES, role).await?,
        types: read(client, TYPES, a_type).await?,
        casts: read(client, CASTS, cast).await?,
        functions: read(client, FUNCTIONS, function).await?,
        operators: read(client, OPERATORS, operator).await?,
        relations: read(client, RELATIONS, relation).await?,
    };
    client.batch_execute("COMMIT").await?;
    Ok(Snapshot::build(version, &fingerprint, &rows))
}

async fn read<T>(client: &Client, sql: &str, row: fn(&Row) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    client.query(sql, &[]).await?.iter().map(row).collect()
}

fn oid(row: &Row, column: usize) -> Result<Oid, Error> {
    row.try_get(column).map(Oid)
}

fn oids(row: &Row, column: usize) -> Result<Vec<Oid>, Error> {
    Ok(row.try_get::<_, Vec<u32>>(column)?.into_iter().map(Oid).collect())
}

/// A `"char"` column.
fn letter(row: &Row, column: usize) -> Result<char, Error> {
    row.try_get::<_, i8>(column).map(|byte| char::from(byte.cast_unsigned()))
}

fn schema(row: &Row) -> Result<SchemaRow, Error> {
    Ok(SchemaRow { oid: oid(row, 0)?, name: row.try_get(1)?, usage: oids(row, 2)? })
}

fn role(row: &Row) -> Result<RoleRow, Error> {
    Ok(RoleRow {
        oid: oid(row, 0)?,
        name: row.try_get(1)?,
        superuser: row.try_get(2)?,
        bypass_rls: row.try_get(3)?,
        member_of: oids(row, 4)?,
        owns_database: row.try_get(5)?,
    })
}

fn a_type(row: &Row) -> Result<TypeRow, Error> {
    Ok(TypeRow {
        oid: oid(row, 0)?,
        name: row.try_get(1)?,
        builtin: row.try_get(2)?,
        kind: letter(row, 3)?,
        category: letter(row, 4)?,
        base: oid(row, 5)?,
        element: oid(row, 6)?,
    })
}

fn cast(row: &Row) -> Result<CastRow, Error> {
    Ok(CastRow { source: oid(row, 0)?, target: oid(row, 1)?, context: letter(row, 2)? })
}

fn function(row: &Row) -> Result<FunctionRow, Error> {
    Ok(FunctionRow { name: row.try_get(0)?, builtin: row.try_get(1)?, volatility: letter(row, 2)?, args: oids(row, 3)? })
}

fn operator(row: &Row) -> Result<OperatorRow, Error> {
    Ok(OperatorRow { name: row.try_get(0)?, builtin: row.try_get(1)?, left: oid(row, 2)?, right: oid(row, 3)? })
}

fn relation(row: &Row) -> Result<RelationRow, Error> {
    Ok(RelationRow {
        oid: oid(row, 0)?,
        schema: oid(row, 1)?,
        name: row.try_get(2)?,
        kind: letter(row, 3)?,
        row_security: row.try_get(4)?,
        unlogged: row.try_get(5)?,
        system: row.try_get(6)?,
        partition: row.try_get(7)?,
        inheritance: row.try_get(8)?,
        rules: row.try_get(9)?,
        triggers: row.try_get(10)?,
        foreign_key_actions: row.try_get(11)?,
        user_code: row.try_get(12)?,
        column_types: oids(row, 13)?,
    })
}

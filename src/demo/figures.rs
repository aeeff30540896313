//! Floor 5. What the demo measures, and its proof that a read after a write is fresh.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls, Statement};

use super::failed;
use super::report::{Report, Row};
use crate::error::{Error, Kind, Result};

const DASHBOARD: &str = "SELECT c.name, count(*) AS orders, sum(o.quantity * p.price_cents) AS revenue \
     FROM orders o JOIN products p ON p.id = o.product_id JOIN categories c ON c.id = p.category_id \
     GROUP BY c.name ORDER BY revenue DESC";
const CUSTOMER: &str = "SELECT name, country FROM customers WHERE id = $1";
const PRODUCT: &str = "SELECT name, price_cents FROM products WHERE id = $1";
const ORDER: &str = "INSERT INTO orders VALUES ($1, 1, 1, 1, '2025-12-31')";

/// Orders that the shop has; the demo's own come after.
const ORDERS: i32 = 300_000;

/// Keys that the short queries go round.
const KEYS: i32 = 100;

const WRITES: i32 = 20;

/// A cell is done after so many runs or so much time, whatever comes first.
const RUNS: usize = 1_000;
const TIME: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1_500 });

/// Shows the table, then writes and reads.
pub(super) async fn show(report: &mut Report, straight: &Config, pgdial: &Config) -> Result<()> {
    let (direct, through) = (connect(straight).await?, connect(pgdial).await?);
    report.head();
    connecting(report, straight, pgdial).await?;
    short_query(report, &direct, &through).await?;
    dashboard(report, &direct, &through).await?;
    freshness(report, &direct, &through, &connect(pgdial).await?).await
}

pub(super) async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await.map_err(failed("cannot connect"))?;
    // Ends when the client is dropped; what goes wrong on it, the client's calls say.
    tokio::spawn(connection);
    Ok(client)
}

async fn connecting(report: &mut Report, straight: &Config, pgdial: &Config) -> Result<()> {
    let mut row = Row { label: "connect, one query, close", ..Row::default() };
    row.straight = Some(median(report, row, |row, time| row.straight = time, async |_| visit(straight).await).await?);
    row.pooled = Some(median(report, row, |row, time| row.pooled = time, async |_| visit(pgdial).await).await?);
    report.row(&row);
    Ok(())
}

/// What a request costs in an application without a pool.
async fn visit(config: &Config) -> Result<()> {
    let client = connect(config).await?;
    client.simple_query("SELECT 1").await.map_err(query_failed)?;
    Ok(())
}

async fn short_query(report: &mut Report, direct: &Client, through: &Client) -> Result<()> {
    let mut row = Row { label: "one row by its key, prepared", ..Row::default() };
    let by_key = async |client: &Client, statement: &Statement, run: usize| {
        let key = 1 + i32::try_from(run).unwrap_or(0) % KEYS;
        client.query_one(statement, &[&key]).await.map(drop).map_err(query_failed)
    };
    let customer = prepare(direct, CUSTOMER).await?;
    row.straight =
        Some(median(report, row, |row, time| row.straight = time, async |run| by_key(direct, &customer, run).await).await?);
    let customer = prepare(through, CUSTOMER).await?;
    row.pooled =
        Some(median(report, row, |row, time| row.pooled = time, async |run| by_key(through, &customer, run).await).await?);
    let product = prepare(through, PRODUCT).await?;
    row.cached =
        Some(median(report, row, |row, time| row.cached = time, async |run| by_key(through, &product, run).await).await?);
    report.row(&row);
    Ok(())
}

async fn dashboard(report: &mut Report, direct: &Client, through: &Client) -> Result<()> {
    let mut row = Row { label: "dashboard over 300,000 orders", ..Row::default() };
    let ask = async |client: &Client, statement: &Statement| client.query(statement, &[]).await.map(drop).map_err(query_failed);
    let statement = prepare(direct, DASHBOARD).await?;
    row.straight = Some(median(report, row, |row, time| row.straight = time, async |_| ask(direct, &statement).await).await?);
    let statement = prepare(through, DASHBOARD).await?;
    // A REPEATABLE READ transaction never reads from memory: this is the pool alone.
    through.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.map_err(query_failed)?;
    row.pooled = Some(median(report, row, |row, time| row.pooled = time, async |_| ask(through, &statement).await).await?);
    through.batch_execute("COMMIT").await.map_err(query_failed)?;
    row.cached = Some(median(report, row, |row, time| row.cached = time, async |_| ask(through, &statement).await).await?);
    report.row(&row);
    Ok(())
}

/// Each write goes through one pgdial connection, the read that follows at once through another; Postgres itself is the judge.
async fn freshness(report: &mut Report, direct: &Client, reader: &Client, writer: &Client) -> Result<()> {
    let (asked, judge) = (prepare(reader, DASHBOARD).await?, prepare(direct, DASHBOARD).await?);
    let insert = prepare(writer, ORDER).await?;
    let first = orders(reader, &asked).await?;
    let mut last = first;
    for n in 1..=WRITES {
        writer.execute(&insert, &[&(ORDERS + n)]).await.map_err(query_failed)?;
        let (read, truth) = (orders(reader, &asked).await?, orders(direct, &judge).await?);
        if read != truth || read.0 != last.0 + 1 {
            return Err(Error::new(
                Kind::Internal,
                format!("a stale read: after write {n} the dashboard through pgdial shows {read:?}, Postgres has {truth:?}"),
            ));
        }
        last = read;
    }
    report.line("");
    report.line(&format!(
        "  {WRITES} writes through pgdial, each followed at once by the dashboard: {WRITES} of {WRITES} fresh ({} -> {} orders)",
        first.0, last.0
    ));
    Ok(())
}

/// Orders and revenue over all categories.
async fn orders(client: &Client, statement: &Statement) -> Result<(i64, i64)> {
    let rows = client.query(statement, &[]).await.map_err(query_failed)?;
    let mut sum = (0, 0);
    for row in rows {
        let read = |column| row.try_get::<usize, i64>(column).map_err(query_failed);
        sum = (sum.0 + read(1)?, sum.1 + read(2)?);
    }
    Ok(sum)
}

async fn prepare(client: &Client, text: &str) -> Result<Statement> {
    client.prepare(text).await.map_err(query_failed)
}

fn query_failed(error: tokio_postgres::Error) -> Error {
    failed("a query of the demo failed")(error)
}

/// Runs `once` until [`RUNS`] or [`TIME`]; the first tenth, at least one, warms up and does not count. `set` puts the median so far
/// into the row that is shown meanwhile.
async fn median(
    report: &mut Report,
    mut row: Row,
    set: fn(&mut Row, Option<Duration>),
    mut once: impl AsyncFnMut(usize) -> Result<()>,
) -> Result<Duration> {
    let begun = Instant::now();
    let mut times = Vec::with_capacity(RUNS);
    for run in 0..RUNS {
        let sent = Instant::now();
        once(run).await?;
        times.push(sent.elapsed());
        if report.is_due() {
            set(&mut row, Some(middle(&times)));
            report.draft_row(&row);
        }
        if begun.elapsed() > TIME && times.len() > 1 {
            break;
        }
    }
    Ok(middle(&times))
}

fn middle(times: &[Duration]) -> Duration {
    let warm_up = times.len().div_ceil(10).min(times.len().saturating_sub(1));
    let mut counted: Vec<_> = times.iter().skip(warm_up).copied().collect();
    counted.sort_unstable();
    counted.get(counted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_leaves_the_warm_up_out() {
        let ms = Duration::from_millis;
        assert_eq!(middle(&[ms(900)]), ms(900));
        assert_eq!(middle(&[ms(900), ms(3)]), ms(3));
        assert_eq!(middle(&[ms(900), ms(3), ms(5), ms(4)]), ms(4));
    }

    /// A reader that keeps its snapshot is as stale as a cache that nobody invalidates.
    #[tokio::test]
    async fn a_stale_read_fails_the_demo() {
        let password = super::super::postgres::random_word().unwrap();
        let postgres = super::super::Postgres::start(&password).await.unwrap();
        let config = super::super::login(postgres.address(), &password);
        super::super::load(&config).await.unwrap();
        let (direct, reader, writer) =
            (connect(&config).await.unwrap(), connect(&config).await.unwrap(), connect(&config).await.unwrap());
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let error = freshness(&mut Report::new(), &direct, &reader, &writer).await.unwrap_err();
        assert!(error.to_string().starts_with("a stale read: after write 1 "), "{error}");
    }
}

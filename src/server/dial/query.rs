//! Floor 3. One simple query on a server that nobody uses yet: for settings that ParameterStatus does not report.

use super::Dialed;
use super::login::{note_parameter, refused, send};
use crate::error::{Error, Kind, Result};
use crate::net::{Fault, next_message};
use crate::wire::backend::{DataRow, tag};
use crate::wire::frontend::Query;

/// Values of one row as text; None is NULL.
type Row = Vec<Option<String>>;

/// The most that the answer may hold, all rows together.
const MAX_ANSWER: usize = 1024 * 1024;

impl Dialed {
    /// Runs the text and gives the rows of all its statements. After an error of Postgres the connection is ready again;
    /// after any other error it must be closed.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut out = Vec::new();
        Query { text: sql.as_bytes() }.encode(&mut out);
        send(&mut self.stream, &out).await.map_err(|error| lost(error.into()))?;
        let (mut rows, mut refusal, mut room) = (Vec::new(), None, MAX_ANSWER);
        loop {
            let message = next_message(&mut self.stream, &mut self.leftover, MAX_ANSWER).await.map_err(lost)?;
            room = room.checked_sub(message.body.len() + 5).ok_or_else(too_large)?;
            match message.tag {
                tag::DATA_ROW => rows.push(row(&message.body)?),
                tag::ERROR_RESPONSE => refusal = Some(refused(&message.body)),
                tag::PARAMETER_STATUS => note_parameter(&mut self.parameters, &message.body)?,
                tag::READY_FOR_QUERY => return refusal.map_or(Ok(rows), Err),
                tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE => {}
                tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => {}
                _ => {
                    return Err(Error::new(Kind::ServerLost, "Postgres sent an unexpected message"));
                }
            }
        }
    }
}

fn row(body: &[u8]) -> Result<Row> {
    let row = DataRow::decode(body).map_err(|error| lost(Fault::Violation(error)))?;
    Ok(row.iter().map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned())).collect())
}

fn lost(fault: Fault) -> Error {
    Error::new(Kind::ServerLost, "the connection to Postgres broke").with_source(fault)
}

fn too_large() -> Error {
    Error::new(Kind::ServerLost, "the answer of Postgres to an internal query is too large")
}

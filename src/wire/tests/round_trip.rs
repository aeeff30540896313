//! Floor 0. What is encoded is decoded as it was.

use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{any_text, backend_message, body_of, column, frontend_message, parameters};
use crate::wire::backend::{self, Column, DataRow, RowDescription};
use crate::wire::diagnostics::{Fields, Report, Severity, SqlState, field};
use crate::wire::frontend::{self, Bind, SaslInitialResponse};
use crate::wire::{Frame, Header};

proptest! {
    #[test]
    fn frontend_messages(message in frontend_message(any_text())) {
        let mut out = b"before".to_vec();
        message.encode(&mut out);
        out.extend_from_slice(b"behind");
        let (frame, rest) = Frame::split(&out[6..], usize::MAX).unwrap().unwrap();
        prop_assert_eq!(rest, b"behind");
        prop_assert_eq!(frontend::Message::decode(frame.tag, frame.body), Ok(message));
    }

    #[test]
    fn backend_messages(message in backend_message(any_text())) {
        let mut out = b"before".to_vec();
        message.encode(&mut out);
        out.extend_from_slice(b"behind");
        let (frame, rest) = Frame::split(&out[6..], usize::MAX).unwrap().unwrap();
        prop_assert_eq!(rest, b"behind");
        prop_assert_eq!(backend::Message::decode(frame.tag, frame.body), Ok(message));
    }

    #[test]
    fn bind_from_parts(portal in any_text(), statement in any_text(), parameters in parameters()) {
        let formats: Vec<i16> = parameters.formats.iter().collect();
        let results: Vec<i16> = parameters.result_formats.iter().collect();
        let body = body_of(|out| {
            frontend::bind(portal, statement, &formats, parameters.values.iter(), &results, out);
        });
        let bind = Bind::decode(body).unwrap();
        prop_assert_eq!((bind.portal, bind.statement), (portal, statement));
        prop_assert_eq!(bind.parameters(), Ok(parameters));
    }

    #[test]
    fn columns_and_values(columns in vec(column(any_text()), 0..9), values in parameters()) {
        let body = body_of(|out| backend::row_description(columns.iter().copied(), out));
        let description = RowDescription::decode(body).unwrap();
        prop_assert_eq!(description.len(), columns.len());
        prop_assert_eq!(description.iter().collect::<Vec<_>>(), columns);

        let values: Vec<_> = values.values.iter().collect();
        let body = body_of(|out| backend::data_row(values.iter().copied(), out));
        let row = DataRow::decode(body).unwrap();
        prop_assert_eq!(row.len(), values.len());
        prop_assert_eq!(row.iter().collect::<Vec<_>>(), values);
    }

    #[test]
    fn other_formats(columns in vec(column(any_text()), 0..5), formats in vec(0_i16..2, 0..5)) {
        let body = body_of(|out| backend::row_description(columns.iter().copied(), out));
        let mut out = Vec::new();
        let outcome = RowDescription::with_formats(body, &formats, &mut out);
        if formats.len() > 1 && formats.len() != columns.len() {
            prop_assert!(outcome.is_err() && out.is_empty());
        } else {
            let expected = columns.iter().enumerate().map(|(index, column)| Column {
                format: *formats.get(index).or_else(|| formats.first()).unwrap_or(&0),
                ..*column
            });
            prop_assert_eq!(out[5..].to_vec(), body_of(|out| {
                backend::row_description(expected.collect::<Vec<_>>().into_iter(), out);
            }));
        }
    }

    #[test]
    fn sasl_initial_response(mechanism in any_text(), data in proptest::option::of(any_text())) {
        let response = SaslInitialResponse { mechanism, data };
        prop_assert_eq!(SaslInitialResponse::decode(body_of(|out| response.encode(out))), Ok(response));
    }

    #[test]
    fn password(text in any_text()) {
        let body = body_of(|out| frontend::password(text, out));
        prop_assert_eq!(frontend::Password { data: body }.text(), Ok(text));
    }
}

#[test]
fn report() {
    let report = Report {
        severity: Severity::Fatal,
        sqlstate: SqlState(*b"57P01"),
        message: "draining",
        detail: None,
        hint: Some("Connect again."),
    };
    let mut out = Vec::new();
    report.encode_error(&mut out);
    assert_eq!(out, b"E\x00\x00\x00\x34SFATAL\0VFATAL\0C57P01\0Mdraining\0HConnect again.\0\0");
    let fields = Fields::decode(&out[Header::LEN..]).unwrap();
    assert_eq!(fields.severity(), Some(Severity::Fatal));
    assert_eq!(fields.sqlstate(), Some(SqlState(*b"57P01")));
    assert_eq!(fields.message(), b"draining");
    assert_eq!(fields.get(field::DETAIL), None);
    assert_eq!(fields.get(field::HINT), Some(&b"Connect again."[..]));

    out.clear();
    report.encode_notice(&mut out);
    assert_eq!(out[0], backend::tag::NOTICE_RESPONSE);
}

#[test]
fn a_nul_inside_a_string_cannot_add_fields() {
    let mut out = Vec::new();
    let text = "x\0C00000\0";
    let sqlstate = SqlState(*b"XX000");
    let report = Report { severity: Severity::Error, sqlstate, message: text, detail: None, hint: None };
    report.encode_error(&mut out);
    let fields = Fields::decode(&out[Header::LEN..]).unwrap();
    assert_eq!(fields.message(), b"x");
    assert_eq!(fields.sqlstate(), Some(sqlstate));
    assert_eq!(fields.iter().count(), 4);
}

#[test]
fn messages_without_a_body() {
    let mut out = Vec::new();
    frontend::sync(&mut out);
    frontend::flush(&mut out);
    frontend::terminate(&mut out);
    frontend::copy_done(&mut out);
    assert_eq!(out, b"S\0\0\0\x04H\0\0\0\x04X\0\0\0\x04c\0\0\0\x04");
    out.clear();
    backend::parse_complete(&mut out);
    backend::bind_complete(&mut out);
    backend::close_complete(&mut out);
    backend::no_data(&mut out);
    backend::portal_suspended(&mut out);
    backend::empty_query(&mut out);
    backend::ready_for_query(crate::pg::TransactionStatus::InTransaction, &mut out);
    assert_eq!(out, b"1\0\0\0\x042\0\0\0\x043\0\0\0\x04n\0\0\0\x04s\0\0\0\x04I\0\0\0\x04Z\0\0\0\x05T");
}

//! Floor 0. Random messages of every kind. Bytes are leaked, so that messages that borrow can be strategies' values.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::pg::{Oid, TransactionStatus};
use crate::wire::backend::{self, Authentication, Column, DataRow, RowDescription};
use crate::wire::body::Body;
use crate::wire::diagnostics::{self, Fields};
use crate::wire::frontend::{self, Parameters, Target};
use crate::wire::lists::{Formats, Oids, Values, write_values};

pub(super) type Text = BoxedStrategy<&'static [u8]>;

pub(super) fn leak(bytes: impl Into<Vec<u8>>) -> &'static [u8] {
    Vec::leak(bytes.into())
}

/// Strings as a client of any encoding may send them.
pub(super) fn any_text() -> Text {
    prop_oneof![Just(vec![]), vec(1_u8.., 0..12), vec(1_u8.., 0..90)].prop_map(leak).boxed()
}

/// Strings that the oracle can hold.
pub(super) fn utf8_text() -> Text {
    prop_oneof![Just(String::new()), "[^\\x00]{0,20}"].prop_map(|text| leak(text.into_bytes())).boxed()
}

fn data() -> Text {
    vec(any::<u8>(), 0..40).prop_map(leak).boxed()
}

fn oids() -> impl Strategy<Value = Oids<'static>> {
    vec(any::<u32>(), 0..6).prop_map(|oids| {
        let bytes: Vec<u8> = oids.iter().flat_map(|oid| oid.to_be_bytes()).collect();
        Oids::from_bytes(leak(bytes)).unwrap()
    })
}

fn formats() -> impl Strategy<Value = Formats<'static>> {
    vec(any::<i16>(), 0..6).prop_map(|formats| {
        let bytes: Vec<u8> = formats.iter().flat_map(|code| code.to_be_bytes()).collect();
        Formats::from_bytes(leak(bytes)).unwrap()
    })
}

fn values() -> impl Strategy<Value = Values<'static>> {
    vec(proptest::option::of(vec(any::<u8>(), 0..30)), 0..6).prop_map(|values| {
        let mut out = Vec::new();
        write_values(values.iter().map(Option::as_deref), &mut out);
        Values::read(&mut Body(leak(out))).unwrap()
    })
}

pub(super) fn parameters() -> impl Strategy<Value = Parameters<'static>> {
    (formats(), values(), formats()).prop_map(|(formats, values, result_formats)| Parameters { formats, values, result_formats })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::Statement), Just(Target::Portal)]
}

pub(super) fn frontend_message(text: Text) -> impl Strategy<Value = frontend::Message<'static>> {
    use frontend::Message as M;
    let bind = (text.clone(), text.clone(), parameters()).prop_map(|(portal, statement, rest)| {
        let mut out = Vec::new();
        rest.encode(&mut out);
        M::Bind(frontend::Bind { portal, statement, rest: leak(out) })
    });
    let parse =
        (text.clone(), text.clone(), oids()).prop_map(|(name, text, types)| M::Parse(frontend::Parse { name, text, types }));
    let call = (any::<u32>(), formats(), values(), any::<i16>()).prop_map(|(oid, formats, arguments, result_format)| {
        M::FunctionCall(frontend::FunctionCall { function: Oid(oid), formats, arguments, result_format })
    });
    let execute = (text.clone(), any::<i32>()).prop_map(|(portal, max_rows)| M::Execute(frontend::Execute { portal, max_rows }));
    prop_oneof![
        bind,
        parse,
        call,
        execute,
        (target(), text.clone()).prop_map(|(target, name)| M::Describe(frontend::Describe { target, name })),
        (target(), text.clone()).prop_map(|(target, name)| M::Close(frontend::Close { target, name })),
        text.clone().prop_map(|text| M::Query(frontend::Query { text })),
        text.prop_map(|message| M::CopyFail(frontend::CopyFail { message })),
        data().prop_map(|data| M::CopyData(frontend::CopyData { data })),
        data().prop_map(|data| M::Password(frontend::Password { data })),
        Just(M::CopyDone),
        Just(M::Flush),
        Just(M::Sync),
        Just(M::Terminate),
    ]
}

pub(super) fn column(text: Text) -> impl Strategy<Value = Column<'static>> {
    (text, any::<u32>(), any::<i16>(), any::<u32>(), any::<i16>(), any::<i32>(), any::<i16>()).prop_map(
        |(name, table, attribute, type_oid, type_len, type_mod, format)| Column {
            name,
            table: Oid(table),
            attribute,
            type_oid: Oid(type_oid),
            type_len,
            type_mod,
            format,
        },
    )
}

/// Body of a message that `encode` writes.
pub(super) fn body_of(encode: impl FnOnce(&mut Vec<u8>)) -> &'static [u8] {
    let mut out = Vec::new();
    encode(&mut out);
    &leak(out)[5..]
}

fn fields(text: Text) -> impl Strategy<Value = Fields<'static>> {
    vec((b'A'..=b'z', text), 0..6)
        .prop_map(|fields| Fields::decode(body_of(|out| diagnostics::encode_fields(b'E', fields.into_iter(), out))).unwrap())
}

fn authentication() -> impl Strategy<Value = Authentication<'static>> {
    use Authentication as A;
    prop_oneof![
        Just(A::Ok),
        Just(A::KerberosV5),
        Just(A::CleartextPassword),
        any::<[u8; 4]>().prop_map(|salt| A::Md5Password { salt }),
        Just(A::Gss),
        data().prop_map(|data| A::GssContinue { data }),
        Just(A::Sspi),
        Just(A::Sasl { mechanisms: backend::Mechanisms::SCRAM_SHA_256 }),
        Just(A::Sasl { mechanisms: backend::Mechanisms::SCRAM_SHA_256_PLUS }),
        data().prop_map(|data| A::SaslContinue { data }),
        data().prop_map(|data| A::SaslFinal { data }),
        (13_i32..).prop_map(A::Unsupported),
    ]
}

fn rows(text: Text) -> impl Strategy<Value = backend::Message<'static>> {
    use backend::Message as M;
    let description = vec(column(text), 0..5)
        .prop_map(|columns| RowDescription::decode(body_of(|out| backend::row_description(columns.into_iter(), out))).unwrap());
    let row = values().prop_map(|values| DataRow::decode(body_of(|out| backend::data_row(values.iter(), out))).unwrap());
    prop_oneof![
        description.prop_map(M::RowDescription),
        row.prop_map(M::DataRow),
        oids().prop_map(|types| M::ParameterDescription(backend::ParameterDescription { types })),
    ]
}

fn bare() -> impl Strategy<Value = backend::Message<'static>> {
    use backend::Message as M;
    let status =
        prop_oneof![Just(TransactionStatus::Idle), Just(TransactionStatus::InTransaction), Just(TransactionStatus::Failed)];
    prop_oneof![
        Just(M::BindComplete),
        Just(M::CloseComplete),
        Just(M::CopyDone),
        Just(M::EmptyQueryResponse),
        Just(M::NoData),
        Just(M::ParseComplete),
        Just(M::PortalSuspended),
        status.prop_map(|status| M::ReadyForQuery(backend::ReadyForQuery { status })),
    ]
}

fn copy() -> impl Strategy<Value = backend::Message<'static>> {
    use backend::Message as M;
    let response = (0_u8..2, formats()).prop_map(|(overall_format, formats)| backend::CopyResponse { overall_format, formats });
    (response, 0..3, data()).prop_flat_map(|(response, which, data)| {
        let start = match which {
            0 => M::CopyInResponse(response),
            1 => M::CopyOutResponse(response),
            _ => M::CopyBothResponse(response),
        };
        prop_oneof![Just(start), Just(M::CopyData(data))]
    })
}

pub(super) fn backend_message(text: Text) -> impl Strategy<Value = backend::Message<'static>> {
    use backend::Message as M;
    let key = (any::<i32>(), prop_oneof![Just(4_usize), 4_usize..=256])
        .prop_flat_map(|(pid, len)| (Just(pid), vec(any::<u8>(), len)))
        .prop_map(|(pid, secret)| M::BackendKeyData(backend::BackendKeyData { pid, secret: leak(secret) }));
    let notification = (any::<i32>(), text.clone(), text.clone())
        .prop_map(|(pid, channel, payload)| M::NotificationResponse(backend::NotificationResponse { pid, channel, payload }));
    let negotiate = (any::<i32>(), vec(text.clone(), 0..4)).prop_map(|(newest_minor, unknown)| {
        M::NegotiateProtocolVersion(backend::NegotiateProtocolVersion { newest_minor, unknown })
    });
    let parameter =
        (text.clone(), text.clone()).prop_map(|(name, value)| M::ParameterStatus(backend::ParameterStatus { name, value }));
    prop_oneof![
        rows(text.clone()),
        bare(),
        copy(),
        key,
        notification,
        negotiate,
        parameter,
        authentication().prop_map(M::Authentication),
        fields(text.clone()).prop_map(M::ErrorResponse),
        fields(text.clone()).prop_map(M::NoticeResponse),
        text.prop_map(|tag| M::CommandComplete(backend::CommandComplete { tag })),
        proptest::option::of(data()).prop_map(|value| M::FunctionCallResponse(backend::FunctionCallResponse { value })),
    ]
}

//! Floor 0. The crate `pgwire` as an independent codec: what we write it reads, and writes back byte for byte.
//! It holds text as UTF-8, and knows neither FunctionCall nor its response.

use bytes::BytesMut;
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion, extendedquery};
use proptest::prelude::*;

use super::samples::{backend_message, frontend_message, parameters, utf8_text};
use crate::wire::backend::{self, Authentication};
use crate::wire::frontend::{self, Bind};

fn context() -> DecodeContext {
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_2);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    context
}

proptest! {
    #[test]
    fn frontend_messages(message in frontend_message(utf8_text())) {
        if matches!(message, frontend::Message::FunctionCall(_)) {
            return Ok(());
        }
        let mut ours = Vec::new();
        message.encode(&mut ours);
        let read = PgWireFrontendMessage::decode(&mut BytesMut::from(&ours[..]), &context());
        let mut theirs = BytesMut::new();
        read.unwrap().unwrap().encode(&mut theirs).unwrap();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn backend_messages(message in backend_message(utf8_text())) {
        if unknown_to_the_oracle(&message) {
            return Ok(());
        }
        let mut ours = Vec::new();
        message.encode(&mut ours);
        let read = PgWireBackendMessage::decode(&mut BytesMut::from(&ours[..]), &context());
        let mut theirs = BytesMut::new();
        read.unwrap().unwrap().encode(&mut theirs).unwrap();
        prop_assert_eq!(ours, theirs);
    }

    /// The message with most structure, field by field and the other way round.
    #[test]
    fn their_bind(portal in utf8_text(), statement in utf8_text(), parameters in parameters()) {
        let text = |bytes: &[u8]| Some(String::from_utf8(bytes.to_vec()).unwrap());
        let theirs = extendedquery::Bind::new(
            text(portal),
            text(statement),
            parameters.formats.iter().collect(),
            parameters.values.iter().map(|value| value.map(bytes::Bytes::copy_from_slice)).collect(),
            parameters.result_formats.iter().collect(),
        );
        let mut buf = BytesMut::new();
        PgWireFrontendMessage::Bind(theirs).encode(&mut buf).unwrap();
        let bind = Bind::decode(&buf[5..]).unwrap();
        prop_assert_eq!((bind.portal, bind.statement), (portal, statement));
        prop_assert_eq!(bind.parameters(), Ok(parameters));
    }
}

fn unknown_to_the_oracle(message: &backend::Message<'_>) -> bool {
    use Authentication as A;
    use backend::Message as M;
    matches!(
        message,
        M::FunctionCallResponse(_) | M::Authentication(A::Gss | A::GssContinue { .. } | A::Sspi | A::Unsupported(_))
    )
}

//! Backend messages as lines of text with every field in them, so that two transcripts can be compared line by line.

use std::collections::HashMap;
use std::fmt::Write;

/// One message as it came.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse by its letter.
    pub(crate) fn field(&self, code: u8) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        fields.filter(|field| field.first() == Some(&code)).map(|field| text(&field[1..])).next()
    }

    /// The columns of a DataRow as text.
    pub(crate) fn columns(&self) -> Vec<Option<String>> {
        let mut reader = Reader(&self.body);
        let count = reader.i16();
        (0..count).map(|_| reader.value().map(text)).collect()
    }
}

/// Object ids differ from run to run: those of user objects are numbered in the order they are first seen.
#[derive(Default)]
pub(crate) struct Ids(HashMap<u32, usize>);

impl Ids {
    fn name(&mut self, oid: u32) -> String {
        if oid < 16_384 {
            return oid.to_string();
        }
        let next = self.0.len() + 1;
        format!("#{}", self.0.entry(oid).or_insert(next))
    }
}

/// The message as one line. BackendKeyData is without its fields, NotificationResponse without its pid: these two are a
/// server's own name, and differ between any two connections.
pub(crate) fn render(message: &Message, ids: &mut Ids) -> String {
    let mut reader = Reader(&message.body);
    let reader = &mut reader;
    let mut line = match message.tag {
        b'R' => format!("Authentication {}", reader.i32()),
        b'S' => format!("ParameterStatus {}={}", reader.cstring(), reader.cstring()),
        b'K' => return "BackendKeyData".into(),
        b'Z' => format!("ReadyForQuery {}", reader.u8() as char),
        b'T' => row_description(reader, ids),
        b'D' => data_row(reader),
        b'C' => format!("CommandComplete {}", reader.cstring()),
        b'E' => fields("ErrorResponse", reader),
        b'N' => fields("NoticeResponse", reader),
        b'A' => {
            reader.i32();
            format!("NotificationResponse {} {}", reader.cstring(), quoted(reader.cstring().as_bytes()))
        }
        b'1' => "ParseComplete".into(),
        b'2' => "BindComplete".into(),
        b'3' => "CloseComplete".into(),
        b'n' => "NoData".into(),
        b's' => "PortalSuspended".into(),
        b'I' => "EmptyQueryResponse".into(),
        b'c' => "CopyDone".into(),
        b'd' => format!("CopyData {}", quoted(std::mem::take(&mut reader.0))),
        b't' => parameter_description(reader, ids),
        b'G' => copy_response("CopyInResponse", reader),
        b'H' => copy_response("CopyOutResponse", reader),
        b'V' => format!("FunctionCallResponse {}", value(reader.value())),
        b'v' => format!("NegotiateProtocolVersion {:?}", std::mem::take(&mut reader.0)),
        other => format!("message {:?} {:?}", other as char, std::mem::take(&mut reader.0)),
    };
    if !reader.0.is_empty() {
        let _ = write!(line, " TRAILING {:?}", reader.0);
    }
    line
}

fn row_description(reader: &mut Reader<'_>, ids: &mut Ids) -> String {
    let count = reader.i16();
    let mut line = format!("RowDescription {count}");
    for _ in 0..count {
        let name = reader.cstring();
        let table = ids.name(reader.u32());
        let attribute = reader.i16();
        let type_oid = ids.name(reader.u32());
        let (len, modifier, format) = (reader.i16(), reader.i32(), reader.i16());
        let _ = write!(line, " {name}:table={table}.{attribute},type={type_oid},len={len},mod={modifier},format={format}");
    }
    line
}

fn data_row(reader: &mut Reader<'_>) -> String {
    let count = reader.i16();
    let columns: Vec<String> = (0..count).map(|_| value(reader.value())).collect();
    format!("DataRow {count} [{}]", columns.join(", "))
}

fn parameter_description(reader: &mut Reader<'_>, ids: &mut Ids) -> String {
    let count = reader.i16();
    let oids: Vec<String> = (0..count).map(|_| ids.name(reader.u32())).collect();
    format!("ParameterDescription {count} [{}]", oids.join(", "))
}

fn copy_response(name: &str, reader: &mut Reader<'_>) -> String {
    let overall = reader.u8();
    let count = reader.i16();
    let formats: Vec<String> = (0..count).map(|_| reader.i16().to_string()).collect();
    format!("{name} {overall} [{}]", formats.join(", "))
}

fn fields(name: &str, reader: &mut Reader<'_>) -> String {
    let mut line = name.to_string();
    loop {
        match reader.u8() {
            0 => return line,
            code => {
                let _ = write!(line, " {}={}", code as char, quoted(reader.cstring().as_bytes()));
            }
        }
    }
}

fn value(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".into(), quoted)
}

/// Bytes as readable text; long ones by length, ends and a checksum.
fn quoted(bytes: &[u8]) -> String {
    if bytes.len() > 400 {
        let sum =
            bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        return format!("<{} bytes, {}.., sum {sum:x}>", bytes.len(), bytes[..20].escape_ascii());
    }
    format!("\"{}\"", bytes.escape_ascii())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A cursor that gives zeros at the end instead of panicking: a cut message must show up in a transcript, not end the test.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap_or([0; N])
    }

    fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.array())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    fn cstring(&mut self) -> String {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let found = text(self.take(len));
        self.take(1);
        found
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        usize::try_from(self.i32()).ok().map(|len| self.take(len))
    }
}

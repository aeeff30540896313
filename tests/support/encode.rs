//! Frontend messages as bytes. Written apart from pgdial's own wire module on purpose: a shared mistake would not show.

/// A write in the making: any number of messages, sent in one go.
#[derive(Clone, Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

/// One parameter of Bind or one argument of FunctionCall.
pub(crate) type Value = Option<Vec<u8>>;

impl Out {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn startup(parameters: &[(&str, &str)]) -> Self {
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            cstring(&mut body, name.as_bytes());
            cstring(&mut body, value.as_bytes());
        }
        body.push(0);
        let mut out = (body.len() as i32 + 4).to_be_bytes().to_vec();
        out.extend(body);
        Self(out)
    }

    pub(crate) fn cancel(pid: i32, secret: &[u8]) -> Self {
        let mut out = (12 + secret.len() as i32).to_be_bytes().to_vec();
        out.extend(80_877_102_i32.to_be_bytes());
        out.extend(pid.to_be_bytes());
        out.extend(secret);
        Self(out)
    }

    pub(crate) fn message(mut self, tag: u8, body: &[u8]) -> Self {
        self.0.push(tag);
        self.0.extend((body.len() as i32 + 4).to_be_bytes());
        self.0.extend(body);
        self
    }

    pub(crate) fn query(self, text: &str) -> Self {
        self.message(b'Q', &terminated(text.as_bytes()))
    }

    pub(crate) fn parse(self, name: &str, text: &str, types: &[u32]) -> Self {
        let mut body = terminated(name.as_bytes());
        cstring(&mut body, text.as_bytes());
        body.extend((types.len() as i16).to_be_bytes());
        for oid in types {
            body.extend(oid.to_be_bytes());
        }
        self.message(b'P', &body)
    }

    pub(crate) fn bind(self, portal: &str, statement: &str, formats: &[i16], values: &[Value], results: &[i16]) -> Self {
        let mut body = terminated(portal.as_bytes());
        cstring(&mut body, statement.as_bytes());
        codes(&mut body, formats);
        arguments(&mut body, values);
        codes(&mut body, results);
        self.message(b'B', &body)
    }

    /// Bind with everything in text.
    pub(crate) fn bind_text(self, portal: &str, statement: &str, values: &[&str]) -> Self {
        let values: Vec<Value> = values.iter().map(|value| Some(value.as_bytes().to_vec())).collect();
        self.bind(portal, statement, &[], &values, &[])
    }

    pub(crate) fn describe(self, target: u8, name: &str) -> Self {
        self.message(b'D', &targeted(target, name))
    }

    pub(crate) fn close(self, target: u8, name: &str) -> Self {
        self.message(b'C', &targeted(target, name))
    }

    pub(crate) fn execute(self, portal: &str, max_rows: i32) -> Self {
        let mut body = terminated(portal.as_bytes());
        body.extend(max_rows.to_be_bytes());
        self.message(b'E', &body)
    }

    pub(crate) fn function_call(self, oid: u32, formats: &[i16], values: &[Value], result: i16) -> Self {
        let mut body = oid.to_be_bytes().to_vec();
        codes(&mut body, formats);
        arguments(&mut body, values);
        body.extend(result.to_be_bytes());
        self.message(b'F', &body)
    }

    pub(crate) fn copy_data(self, data: &[u8]) -> Self {
        self.message(b'd', data)
    }

    pub(crate) fn copy_fail(self, reason: &str) -> Self {
        self.message(b'f', &terminated(reason.as_bytes()))
    }

    pub(crate) fn copy_done(self) -> Self {
        self.message(b'c', &[])
    }

    pub(crate) fn sync(self) -> Self {
        self.message(b'S', &[])
    }

    pub(crate) fn flush(self) -> Self {
        self.message(b'H', &[])
    }

    pub(crate) fn terminate(self) -> Self {
        self.message(b'X', &[])
    }
}

fn cstring(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text);
    out.push(0);
}

fn terminated(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    out.push(0);
    out
}

fn targeted(target: u8, name: &str) -> Vec<u8> {
    let mut out = vec![target];
    cstring(&mut out, name.as_bytes());
    out
}

fn codes(out: &mut Vec<u8>, codes: &[i16]) {
    out.extend((codes.len() as i16).to_be_bytes());
    for code in codes {
        out.extend(code.to_be_bytes());
    }
}

fn arguments(out: &mut Vec<u8>, values: &[Value]) {
    out.extend((values.len() as i16).to_be_bytes());
    for value in values {
        match value {
            Some(bytes) => {
                out.extend((bytes.len() as i32).to_be_bytes());
                out.extend(bytes);
            }
            None => out.extend((-1_i32).to_be_bytes()),
        }
    }
}

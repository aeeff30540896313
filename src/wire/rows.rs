//! Floor 0. What a result is made of: RowDescription and DataRow.

use super::Violation;
use super::backend::tag;
use super::body::{Body, message, put_count, put_i16, put_i32, put_string, put_u32};
use super::lists::{Values, ValuesIter, write_values};
use crate::pg::Oid;

/// RowDescription: the columns of the rows to come. Checked when made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'a> {
    columns: &'a [u8],
    count: usize,
}

impl<'a> RowDescription<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let count = body.count()?;
        let columns = body.taken(|body| (0..count).try_for_each(|_| Column::read(body).map(drop)))?;
        body.end()?;
        Ok(Self { columns, count })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::ROW_DESCRIPTION, out, |out| {
            put_count(self.count, out);
            out.extend_from_slice(self.columns);
        });
    }

    /// Reads a body and appends the whole message as a portal bound with other result formats describes it.
    /// A number of formats that fits the columns no way is Postgres's own error at Bind.
    pub fn with_formats(body: &[u8], formats: &[i16], out: &mut Vec<u8>) -> Result<(), Violation> {
        let description = RowDescription::decode(body)?;
        let format = |index| match formats {
            [] => 0,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(0),
        };
        if formats.len() > 1 && formats.len() != description.len() {
            return Err(Violation::ResultFormats { formats: formats.len(), columns: description.len() });
        }
        let columns = description.iter().enumerate();
        row_description(columns.map(|(index, column)| Column { format: format(index), ..column }), out);
        Ok(())
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none: `SELECT FROM t` has rows without columns.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn iter(&self) -> Columns<'a> {
        Columns { rest: Body(self.columns), left: self.count }
    }
}

impl std::fmt::Debug for RowDescription<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One column of a RowDescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name in the result.
    pub name: &'a [u8],
    /// The table it comes from, or 0.
    pub table: Oid,
    /// Its number in that table, or 0.
    pub attribute: i16,
    /// Its type.
    pub type_oid: Oid,
    /// `pg_type.typlen`; negative for types of variable size.
    pub type_len: i16,
    /// Type modifier; -1 for none.
    pub type_mod: i32,
    /// 0 text, 1 binary; 0 while not known, in the description of a statement.
    pub format: i16,
}

impl<'a> Column<'a> {
    fn read(body: &mut Body<'a>) -> Result<Self, Violation> {
        Ok(Self {
            name: body.string()?,
            table: Oid(body.u32()?),
            attribute: body.i16()?,
            type_oid: Oid(body.u32()?),
            type_len: body.i16()?,
            type_mod: body.i32()?,
            format: body.i16()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_string(self.name, out);
        put_u32(self.table.0, out);
        put_i16(self.attribute, out);
        put_u32(self.type_oid.0, out);
        put_i16(self.type_len, out);
        put_i32(self.type_mod, out);
        put_i16(self.format, out);
    }
}

/// Iterator over the columns of a [`RowDescription`].
#[derive(Clone, Debug)]
pub struct Columns<'a> {
    rest: Body<'a>,
    left: usize,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Column::read(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Columns<'_> {}

/// Appends a RowDescription made from columns.
pub fn row_description<'c>(columns: impl ExactSizeIterator<Item = Column<'c>>, out: &mut Vec<u8>) {
    message(tag::ROW_DESCRIPTION, out, |out| {
        put_count(columns.len(), out);
        columns.for_each(|column| column.write(out));
    });
}

/// DataRow: one row. Checked when made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRow<'a> {
    values: Values<'a>,
}

impl<'a> DataRow<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let values = Values::read(&mut body)?;
        body.end()?;
        Ok(Self { values })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::DATA_ROW, out, |out| self.values.write(out));
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has no column.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values in order, NULL as `None`.
    pub fn iter(&self) -> ValuesIter<'a> {
        self.values.iter()
    }
}

/// Appends a DataRow made from values.
pub fn data_row<'v>(values: impl ExactSizeIterator<Item = Option<&'v [u8]>>, out: &mut Vec<u8>) {
    message(tag::DATA_ROW, out, |out| write_values(values, out));
}

use crate::{Failure, RowValues};
use capnp::{
    data_list, primitive_list,
    traits::{IndexMove, ListIter},
};
use mainstem_plugin_abi::{
    layout::Structs,
    plugin_capnp::{column, event, port_batch},
};
use std::fmt;

/// Rows at one port, read in place: nothing is copied before it is asked for.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    timestamps: Values<'a, i64>,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Columns(capnp::struct_list::Reader<'a, column::Owned>),
    Events(capnp::struct_list::Reader<'a, event::Owned>),
    /// Events whose request has the usual form.
    Laid(Structs<'a>),
}

/// A column of rows: a value for each.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Column<'a> {
    /// Whole numbers.
    Int64(Values<'a, i64>),
    /// Numbers.
    Float64(Values<'a, f64>),
    /// UTF-8.
    Text(Texts<'a>),
    /// Bytes.
    Data(Datas<'a>),
}

/// A row that is an event as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Of what `content` is.
    pub content_type: u16,
    /// Its bytes.
    pub content: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Looks at rows whose counts fit. `laid` is the same list of events, if it is one of the usual form.
    pub(crate) fn read(from: port_batch::Reader<'a>, laid: Option<Structs<'a>>) -> Result<Self, Failure> {
        let timestamps = Values(from.get_timestamps()?);
        let content = match from.which() {
            Ok(port_batch::Columns(columns)) => {
                let columns = columns?;
                for (index, column) in columns.iter().enumerate() {
                    check_count(&format!("column {index}"), Column::read(column)?.len(), timestamps.len())?;
                }
                Content::Columns(columns)
            }
            Ok(port_batch::Events(events)) => {
                let events = events?;
                check_count("the list of events", events.len() as usize, timestamps.len())?;
                let laid = laid.filter(|laid| laid.len() == events.len() as usize);
                laid.map_or(Content::Events(events), Content::Laid)
            }
            Err(_) => {
                return Err(Failure::unsupported("the batch has rows of a form that is not known here"));
            }
        };
        Ok(Self { timestamps, content })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When each row is from, in ms since 1970.
    pub fn timestamps(&self) -> Values<'a, i64> {
        self.timestamps
    }

    /// How many columns there are; 0 for events.
    pub fn columns(&self) -> usize {
        match &self.content {
            Content::Columns(columns) => columns.len() as usize,
            Content::Events(_) | Content::Laid(_) => 0,
        }
    }

    /// A column by its place in the port's claim.
    ///
    /// # Errors
    /// There is none.
    pub fn column(&self, index: usize) -> Result<Column<'a>, Failure> {
        match &self.content {
            Content::Columns(columns) if index < columns.len() as usize => {
                Column::read(columns.get(index as u32))
            }
            Content::Columns(_) | Content::Events(_) | Content::Laid(_) => Err(Failure::invalid(format!(
                "the rows have {} columns and none with number {index}; send those of the manifest",
                self.columns()
            ))),
        }
    }

    /// A column of whole numbers by its place in the port's claim.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn int64(&self, index: usize) -> Result<Values<'a, i64>, Failure> {
        let column = self.column(index)?;
        let Column::Int64(values) = column else { return Err(column.is_not("int64", index)) };
        Ok(values)
    }

    /// A column of numbers by its place in the port's claim.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn float64(&self, index: usize) -> Result<Values<'a, f64>, Failure> {
        let column = self.column(index)?;
        let Column::Float64(values) = column else { return Err(column.is_not("float64", index)) };
        Ok(values)
    }

    /// A column of texts by its place in the port's claim.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn text(&self, index: usize) -> Result<Texts<'a>, Failure> {
        let column = self.column(index)?;
        let Column::Text(values) = column else { return Err(column.is_not("text", index)) };
        Ok(values)
    }

    /// A column of bytes by its place in the port's claim.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn data(&self, index: usize) -> Result<Datas<'a>, Failure> {
        let column = self.column(index)?;
        let Column::Data(values) = column else { return Err(column.is_not("data", index)) };
        Ok(values)
    }

    /// The rows as events, where the port claims no columns.
    ///
    /// # Errors
    /// They are columns, or one cannot be read.
    pub fn events(&self) -> Result<Vec<Event<'a>>, Failure> {
        self.check_events()?;
        (0..self.len()).map(|index| self.event(index)).collect()
    }

    /// One of the rows as an event.
    ///
    /// # Errors
    /// They are columns, there is none with this number, or it cannot be read.
    pub fn event(&self, index: usize) -> Result<Event<'a>, Failure> {
        check_index(index, self.len())?;
        match &self.content {
            Content::Events(events) => {
                let event = events.get(index as u32);
                Ok(Event { content_type: event.get_content_type(), content: event.get_content()? })
            }
            Content::Laid(events) => {
                let event = events.get(index).ok_or_else(no_content)?;
                let content = event.bytes(0).ok_or_else(no_content)?;
                Ok(Event { content_type: event.u16(0), content })
            }
            Content::Columns(_) => Err(no_events()),
        }
    }

    /// The content types of the rows, where they are events; their contents are not looked at.
    ///
    /// # Errors
    /// They are columns.
    pub fn content_types(&self) -> Result<impl Iterator<Item = u16> + use<'a>, Failure> {
        self.check_events()?;
        let content = self.content;
        Ok((0..self.len()).map(move |index| match &content {
            Content::Events(events) => events.get(index as u32).get_content_type(),
            Content::Laid(events) => events.get(index).map_or(0, |event| event.u16(0)),
            Content::Columns(_) => 0,
        }))
    }

    fn check_events(&self) -> Result<(), Failure> {
        if self.has_events() { Ok(()) } else { Err(no_events()) }
    }

    /// Whether the rows are whole events.
    pub fn has_events(&self) -> bool {
        matches!(self.content, Content::Events(_) | Content::Laid(_))
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("rows", &self.len()).field("columns", &self.columns()).finish()
    }
}

impl<'a> Column<'a> {
    fn read(from: column::Reader<'a>) -> Result<Self, Failure> {
        Ok(match from.which() {
            Ok(column::Int64(values)) => Self::Int64(Values(values?)),
            Ok(column::Float64(values)) => Self::Float64(Values(values?)),
            Ok(column::Text(values)) => Self::Text(Texts(values?)),
            Ok(column::Data(values)) => Self::Data(Datas(values?)),
            Err(_) => return Err(Failure::unsupported("a column is of a type that is not known here")),
        })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Int64(values) => values.len(),
            Self::Float64(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Data(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of some rows.
    pub(crate) fn pick(&self, rows: impl Iterator<Item = usize>) -> Result<RowValues, Failure> {
        fn number<T: Number>(values: &Values<'_, T>, row: usize) -> Result<T, Failure> {
            check_index(row, values.len())?;
            values.get(row).ok_or_else(no_content)
        }
        Ok(match self {
            Self::Int64(values) => {
                RowValues::Int64(rows.map(|row| number(values, row)).collect::<Result<_, _>>()?)
            }
            Self::Float64(values) => {
                RowValues::Float64(rows.map(|row| number(values, row)).collect::<Result<_, _>>()?)
            }
            Self::Text(values) => {
                RowValues::Text(rows.map(|row| values.get(row).map(str::to_owned)).collect::<Result<_, _>>()?)
            }
            Self::Data(values) => RowValues::Data(
                rows.map(|row| values.get(row).map(<[u8]>::to_vec)).collect::<Result<_, _>>()?,
            ),
        })
    }

    fn is_not(&self, wanted: &str, index: usize) -> Failure {
        let found = match self {
            Self::Int64(_) => "int64",
            Self::Float64(_) => "float64",
            Self::Text(_) => "text",
            Self::Data(_) => "data",
        };
        Failure::invalid(format!("column {index} is {found}; send {wanted}, as the manifest says"))
    }
}

/// Numbers, one behind the other in the request.
#[derive(Clone, Copy)]
pub struct Values<'a, T: Number>(primitive_list::Reader<'a, T>);

/// What [`Values`] are of: `i64` or `f64`.
pub trait Number: capnp::private::layout::PrimitiveElement + Copy + fmt::Debug {}

impl Number for i64 {}
impl Number for f64 {}

impl<'a, T: Number> Values<'a, T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<T> {
        (index < self.len()).then(|| self.0.get(index as u32))
    }

    /// All of them, in order.
    pub fn iter(&self) -> ListIter<primitive_list::Reader<'a, T>, T> {
        self.0.iter()
    }
}

impl<'a, T: Number> IntoIterator for Values<'a, T> {
    type Item = T;
    type IntoIter = ListIter<primitive_list::Reader<'a, T>, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Number> fmt::Debug for Values<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Texts.
#[derive(Clone, Copy)]
pub struct Texts<'a>(capnp::text_list::Reader<'a>);

impl<'a> Texts<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none with this number, or it is not UTF-8.
    pub fn get(&self, index: usize) -> Result<&'a str, Failure> {
        check_index(index, self.len())?;
        let text = IndexMove::index_move(&self.0, index as u32)?;
        text.to_str().map_err(|_| Failure::malformed(format!("text {index} of a column is not UTF-8")))
    }
}

impl fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({})", self.len())
    }
}

/// Byte strings.
#[derive(Clone, Copy)]
pub struct Datas<'a>(data_list::Reader<'a>);

impl<'a> Datas<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none with this number, or it cannot be read.
    pub fn get(&self, index: usize) -> Result<&'a [u8], Failure> {
        check_index(index, self.len())?;
        Ok(IndexMove::index_move(&self.0, index as u32)?)
    }
}

impl fmt::Debug for Datas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datas({})", self.len())
    }
}

fn no_events() -> Failure {
    Failure::invalid("the rows are columns; send whole events, as the manifest says")
}

fn no_content() -> Failure {
    Failure::malformed("the content of an event is no data that lies in the message")
}

fn check_index(index: usize, len: usize) -> Result<(), Failure> {
    if index < len {
        return Ok(());
    }
    Err(Failure::internal(format!("value {index} of a column with {len} was asked for; go by its length")))
}

fn check_count(of: &str, found: usize, rows: usize) -> Result<(), Failure> {
    if found == rows {
        return Ok(());
    }
    Err(Failure::malformed(format!("{of} has {found} values for {rows} rows; it must have one for each")))
}

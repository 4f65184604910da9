use mainstem_plugin_abi::{
    ColumnType, Port,
    layout::{Fields, Writer, event_words, sizes, tags, words_of},
    plugin_capnp::{column, port_batch},
};

/// A batch of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Of each row, ms since 1970.
    pub timestamps: Vec<i64>,
    /// As many as timestamps.
    pub values: Values,
}

/// What rows hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// The port's columns, each with a value of every row.
    Columns(Vec<Column>),
    /// Whole events, of ports without columns.
    Events(Vec<Event>),
}

/// A value of every row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Whole numbers.
    Int64(Vec<i64>),
    /// Numbers.
    Float64(Vec<f64>),
    /// Text.
    Text(Vec<String>),
    /// Bytes.
    Data(Vec<Vec<u8>>),
}

/// An event as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What its content is.
    pub content_type: u16,
    /// The content.
    pub content: Vec<u8>,
}

/// Rows for one of an operator's outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// Place of the port in the claim's outputs.
    pub port: u16,
    /// As that port's columns.
    pub rows: Rows,
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Int64(values) => values.len(),
            Self::Float64(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Data(values) => values.len(),
        }
    }

    const fn column_type(&self) -> ColumnType {
        match self {
            Self::Int64(_) => ColumnType::Int64,
            Self::Float64(_) => ColumnType::Float64,
            Self::Text(_) => ColumnType::Text,
            Self::Data(_) => ColumnType::Data,
        }
    }

    /// Words of its message, or some more.
    fn words(&self) -> usize {
        let list = |bytes: &mut dyn Iterator<Item = usize>| bytes.map(|bytes| 2 + bytes / 8).sum::<usize>();
        4 + match self {
            Self::Int64(values) => values.len(),
            Self::Float64(values) => values.len(),
            Self::Text(values) => list(&mut values.iter().map(|text| text.len() + 1)),
            Self::Data(values) => list(&mut values.iter().map(Vec::len)),
        }
    }
}

impl Rows {
    /// What does not fit the port, if anything.
    pub(crate) fn misfit(&self, port: &Port) -> Option<String> {
        let (name, rows) = (&port.name, self.timestamps.len());
        match &self.values {
            Values::Events(_) if !port.columns.is_empty() => {
                Some(format!("port {name} has columns, and these are whole events"))
            }
            Values::Events(events) if events.len() != rows => {
                Some(format!("port {name}: {} events for {rows} timestamps", events.len()))
            }
            Values::Events(_) => None,
            Values::Columns(_) if port.columns.is_empty() => {
                Some(format!("port {name} has whole events, and these are columns"))
            }
            Values::Columns(columns) if columns.len() != port.columns.len() => {
                Some(format!("port {name}: {} columns, and it has {}", columns.len(), port.columns.len()))
            }
            Values::Columns(columns) => columns.iter().zip(&port.columns).find_map(|(column, claim)| {
                let of = &claim.name;
                if column.column_type() != claim.column_type {
                    let (is, right) = (column.column_type().name(), claim.column_type.name());
                    return Some(format!("port {name}: column {of} is {is}, and it is claimed as {right}"));
                }
                (column.len() != rows)
                    .then(|| format!("port {name}: column {of} has {} values for {rows} rows", column.len()))
            }),
        }
    }

    /// Words of its message, or some more.
    pub(crate) fn words(&self) -> usize {
        let values = match &self.values {
            Values::Columns(columns) => columns.iter().map(Column::words).sum::<usize>(),
            Values::Events(events) => events.iter().map(|event| 4 + event.content.len() / 8).sum(),
        };
        16 + self.timestamps.len() + values
    }

    /// Writes it as rows of a port. Its lists have fewer than 2^29 entries, as they fit one message.
    pub(crate) fn write(&self, port: u16, mut to: port_batch::Builder<'_>) {
        to.set_port(port);
        let mut timestamps = to.reborrow().init_timestamps(count(&self.timestamps));
        for (index, timestamp) in (0..).zip(&self.timestamps) {
            timestamps.set(index, *timestamp);
        }
        match &self.values {
            Values::Columns(columns) => {
                let mut list = to.init_columns(count(columns));
                for (index, column) in (0..).zip(columns) {
                    write_column(column, list.reborrow().get(index));
                }
            }
            Values::Events(events) => {
                let mut list = to.init_events(count(events));
                for (index, event) in (0..).zip(events) {
                    let mut to = list.reborrow().get(index);
                    to.set_content_type(event.content_type);
                    to.set_content(&event.content);
                }
            }
        }
    }

    /// Words of the request `onBatch`, if these are whole events.
    pub(crate) fn words_of_events(&self) -> Option<usize> {
        let Values::Events(events) = &self.values else { return None };
        let contents: usize = events.iter().map(|event| words_of(event.content.len())).sum();
        let fields = [sizes::REQUEST, sizes::PORT_BATCH].map(|(data, pointers)| data + pointers);
        Some(1 + fields.iter().sum::<usize>() + event_words(events.len()) + contents)
    }

    /// The request `onBatch`, if these are whole events.
    pub(crate) fn lay_events(&self, port: u16, to: &mut Writer<'_>) -> Option<()> {
        let Values::Events(events) = &self.values else { return None };
        let root = to.root(sizes::REQUEST, tags::ON_BATCH)?;
        let at = to.fields(root, sizes::PORT_BATCH)?;
        let events = events.iter().map(|event| (event.content_type, &*event.content));
        to.events(at, port, &self.timestamps, events)
    }

    /// [`Rows::read`] of whole events that have the usual form. `budget` is how many words may be visited, and those that are, are taken off it.
    pub(crate) fn quick_events(from: &Fields<'_>, budget: &mut usize) -> Option<Self> {
        if from.u16(2) != tags::EVENTS {
            return None;
        }
        let timestamps = from.i64s(0)?;
        let list = from.structs(1)?;
        *budget = budget.checked_sub(timestamps.len() + list.words())?;
        let mut events = Vec::with_capacity(list.len());
        for event in list.iter() {
            let content = event.bytes(0)?;
            *budget = budget.checked_sub(words_of(content.len()))?;
            events.push(Event { content_type: event.u16(0), content: content.to_vec() });
        }
        Some(Self { timestamps: timestamps.collect(), values: Values::Events(events) })
    }

    /// Reads rows of a port.
    pub(crate) fn read(from: port_batch::Reader<'_>) -> Result<Self, String> {
        let broken = |error: capnp::Error| format!("rows cannot be read: {error}");
        let timestamps = from.get_timestamps().map_err(broken)?;
        let which =
            from.which().map_err(|error| format!("rows of a kind {} that is not known here", error.0))?;
        let values = match which {
            port_batch::Columns(columns) => {
                let columns = columns.map_err(broken)?.iter().map(read_column);
                Values::Columns(columns.collect::<Result<_, _>>()?)
            }
            port_batch::Events(events) => {
                let events = events.map_err(broken)?.iter().map(|event| {
                    let content = event.get_content()?.to_vec();
                    Ok(Event { content_type: event.get_content_type(), content })
                });
                Values::Events(events.collect::<capnp::Result<_>>().map_err(broken)?)
            }
        };
        Ok(Self { timestamps: numbers(timestamps, i64::from_le_bytes), values })
    }
}

fn count<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

fn write_column(column: &Column, mut to: column::Builder<'_>) {
    match column {
        Column::Int64(values) => {
            let mut list = to.init_int64(count(values));
            for (index, value) in (0..).zip(values) {
                list.set(index, *value);
            }
        }
        Column::Float64(values) => {
            let mut list = to.init_float64(count(values));
            for (index, value) in (0..).zip(values) {
                list.set(index, *value);
            }
        }
        Column::Text(values) => {
            let mut list = to.reborrow().init_text(count(values));
            for (index, value) in (0..).zip(values) {
                list.set(index, value);
            }
        }
        Column::Data(values) => {
            let mut list = to.reborrow().init_data(count(values));
            for (index, value) in (0..).zip(values) {
                list.set(index, value);
            }
        }
    }
}

fn read_column(from: column::Reader<'_>) -> Result<Column, String> {
    let broken = |error: capnp::Error| format!("a column cannot be read: {error}");
    let which =
        from.which().map_err(|error| format!("a column of a type {} that is not known here", error.0))?;
    Ok(match which {
        column::Int64(values) => Column::Int64(numbers(values.map_err(broken)?, i64::from_le_bytes)),
        column::Float64(values) => Column::Float64(numbers(values.map_err(broken)?, f64::from_le_bytes)),
        column::Text(values) => {
            let texts = values
                .map_err(broken)?
                .iter()
                .map(|text| text.map_err(broken)?.to_string().map_err(|_| "a text is no UTF-8".to_owned()));
            Column::Text(texts.collect::<Result<_, _>>()?)
        }
        column::Data(values) => {
            let data = values.map_err(broken)?.iter().map(|data| data.map(<[u8]>::to_vec));
            Column::Data(data.collect::<capnp::Result<_>>().map_err(broken)?)
        }
    })
}

/// A list of numbers, copied as a whole where it lies as one.
fn numbers<T: capnp::private::layout::PrimitiveElement + Copy>(
    list: capnp::primitive_list::Reader<'_, T>,
    from: fn([u8; 8]) -> T,
) -> Vec<T> {
    // Newer versions may send structs with more in them, whose first field is the number.
    if capnp::raw::get_list_step_size_in_bits(list) != 64 {
        return list.iter().collect();
    }
    let words = capnp::raw::get_list_bytes(list).as_chunks::<8>().0;
    words.iter().map(|word| from(*word)).collect()
}

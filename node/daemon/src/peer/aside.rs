use super::pipe::{Front, Pending};
use mainstem_api::peer::Order;
use mainstem_model::SignatureType;
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    ops::{Bound, RangeBounds},
    task::{Context, Poll, ready},
};

/// What waits for the proofs of plugins, in lines. Within a line the order is kept, and what has an [`Order`] waits in one line
/// only. Nothing comes before what was sent before it and does not wait here; lines do not wait for each other.
#[derive(Debug)]
pub(super) struct Aside {
    messages_max: usize,
    bytes_max: usize,
    lines: BTreeMap<Line, Waiting>,
    /// In which line there is something of an order, and how much. Sessions count apart: numbers of pulls begin anew.
    orders: BTreeMap<(u64, Order), (Line, usize)>,
    next_own: u64,
    /// What was taken last: others have their turn.
    last: Option<Line>,
}

/// What waits for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    /// The proofs of a signature type, and what must not overtake them.
    Of(SignatureType),
    /// Nothing but itself.
    Own(u64),
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Pending>,
    /// Of each of them.
    notes: VecDeque<Note>,
    bytes: usize,
}

/// What is known of a message that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// What it keeps its order in, and of which session.
    pub(super) order: Option<(u64, Order)>,
    pub(super) bytes: usize,
    /// So many others of its lane are handed on before it: those that were sent before.
    pub(super) after: u64,
}

impl Aside {
    /// With bounds for each line.
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages_max,
            bytes_max,
            lines: BTreeMap::new(),
            orders: BTreeMap::new(),
            next_own: 0,
            last: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a line is at a bound, or there are as many of one message as one line may have messages.
    pub(super) fn is_full(&self) -> bool {
        let own = self.lines.range(Line::Own(0)..);
        let (count, bytes) = own.fold((0, 0), |(count, bytes), (_, line)| (count + 1, bytes + line.bytes));
        count >= self.messages_max
            || bytes >= self.bytes_max
            || self.lines.keys().any(|line| !self.has_room(*line))
    }

    /// Whether a line takes another message. An empty one does.
    pub(super) fn has_room(&self, line: Line) -> bool {
        self.lines
            .get(&line)
            .is_none_or(|line| line.messages.len() < self.messages_max && line.bytes < self.bytes_max)
    }

    /// Where something of an order waits, if anything does.
    pub(super) fn line_of(&self, session: u64, order: &Order) -> Option<Line> {
        self.orders.get(&(session, *order)).map(|(line, _)| *line)
    }

    /// A line that nothing else is in.
    pub(super) const fn own_line(&self) -> Line {
        Line::Own(self.next_own)
    }

    pub(super) fn put(&mut self, line: Line, note: Note, message: Pending) {
        if line == self.own_line() {
            self.next_own += 1;
        }
        if let Some(order) = note.order {
            self.orders.entry(order).or_insert((line, 0)).1 += 1;
        }
        let line = self.lines.entry(line).or_default();
        line.messages.push_back(message);
        line.notes.push_back(note);
        line.bytes += note.bytes;
    }

    /// Waits for the first of any line and takes it out; `handed_on`: so many others of the lane were. Cancel safe.
    pub(super) async fn next(&mut self, handed_on: u64) -> Front {
        poll_fn(|cx| {
            let behind_last = self.last.map_or(Bound::Unbounded, Bound::Excluded);
            let found = match self.poll_lines((behind_last, Bound::Unbounded), handed_on, cx) {
                Poll::Ready(found) => Poll::Ready(found),
                Poll::Pending => self.poll_lines(.., handed_on, cx),
            };
            let (line, front) = ready!(found);
            self.took(line);
            self.last = Some(line);
            Poll::Ready(front)
        })
        .await
    }

    fn poll_lines(
        &mut self,
        lines: impl RangeBounds<Line>,
        handed_on: u64,
        cx: &mut Context<'_>,
    ) -> Poll<(Line, Front)> {
        for (line, waiting) in self.lines.range_mut(lines) {
            let comes = waiting.notes.front().is_some_and(|note| note.after <= handed_on);
            if comes && let Poll::Ready(front) = Pending::poll_first(&mut waiting.messages, cx) {
                return Poll::Ready((*line, front));
            }
        }
        Poll::Pending
    }

    fn took(&mut self, at: Line) {
        let Some(line) = self.lines.get_mut(&at) else { return };
        let note = line.notes.pop_front();
        line.bytes -= note.map_or(0, |note| note.bytes);
        if line.messages.is_empty() {
            self.lines.remove(&at);
        }
        if let Some(order) = note.and_then(|note| note.order)
            && let Some((_, count)) = self.orders.get_mut(&order)
        {
            *count -= 1;
            if *count == 0 {
                self.orders.remove(&order);
            }
        }
    }

    /// Forgets all of it, with what is not proven yet. Gives how many messages that were.
    pub(super) fn clear(&mut self) -> usize {
        self.orders.clear();
        std::mem::take(&mut self.lines).into_values().map(|line| line.messages.len()).sum()
    }
}

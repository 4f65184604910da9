//! Who may no longer read is told so.

use super::{Delivery, Key};
use crate::{context::Context, rule::Rule};
use mainstem_model::{Partition, Right, StreamId, limits::PARTITIONS_MAX};
use std::mem;

impl Delivery {
    /// The rights of a stream have changed: looks at who reads it.
    pub(crate) fn handle_rights(&mut self, stream: StreamId, cx: &mut Context<'_>) {
        let at = |number| Partition::try_from(number).map(|partition| stream.partition(partition));
        let (Ok(first), Ok(last)) = (at(0), at(PARTITIONS_MAX - 1)) else { return };
        let keys: Vec<_> = self
            .by_partition
            .range(first..=last)
            .flat_map(|(_, readers)| readers.keys.iter().copied())
            .collect();
        for key in keys {
            self.recheck(key, cx);
        }
    }

    /// Ends a subscription whose holder may no longer read; else notes until when it may.
    pub(super) fn recheck(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let identity = cx.sessions.identity(key.0);
        let at = subscription.at;
        if let Err(refusal) = cx.registry.check(at, identity, Right::Subscribe, cx.now.unix_s())
            && cx.keeps(Rule::RightsOfReaders)
        {
            self.end(key, None, Some(refusal), cx);
            return self.use_room(key.0, cx);
        }
        let until = cx.registry.subscribe_until(at.stream, identity);
        let before = mem::replace(&mut subscription.until, until);
        if before != until {
            self.expiries.remove(&(before, key));
            self.expiries.insert((until, key));
        }
    }
}

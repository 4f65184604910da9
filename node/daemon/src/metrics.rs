//! What the node has done, as Prometheus reads it.

use crate::chain_seen::ChainSeen;
use mainstem_protocol::Counters;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{fmt, time::Instant};
use tokio::sync::watch;

/// Shows the broker's counters at the moment they are asked for.
#[derive(Debug)]
struct Broker(watch::Receiver<Counters>);

impl Collector for Broker {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = self.0.borrow().clone();
        let counters = [
            ("batches_accepted", "batches taken in", now.batches_accepted),
            ("events_accepted", "events taken in", now.events_accepted),
            ("bytes_accepted", "bytes of batches taken in", now.bytes_accepted),
            ("batches_duplicate", "batches that were here already", now.batches_duplicate),
            ("batches_stored", "batches that reached the journal", now.batches_stored),
            ("batches_delivered", "batches handed to subscriptions", now.batches_delivered),
            ("events_delivered", "events handed to subscriptions", now.events_delivered),
            ("bytes_delivered", "bytes of batches handed to subscriptions", now.bytes_delivered),
            (
                "subscriptions_lagged",
                "times a subscription was moved to reading from the store",
                now.subscriptions_lagged,
            ),
            ("batches_damaged", "damaged batches met while reading", now.batches_damaged),
            ("equivocations", "series frozen for two batches at one place", now.equivocations),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let gauges = [
            ("sessions", "open sessions", now.sessions),
            ("subscriptions", "open subscriptions", now.subscriptions),
            ("write_queue_bytes", "bytes of batches on their way to the journal", now.write_queue_bytes),
            (
                "delivery_queue_bytes",
                "bytes of batches on their way to subscribers",
                now.delivery_queue_bytes,
            ),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let first = ConstCounter::new(0_u64);
        let mut refused =
            encoder.encode_descriptor("refused", "requests refused, by code", None, first.metric_type())?;
        for (code, count) in &now.refused {
            let labels = [("code", code.as_str())];
            ConstCounter::new(*count).encode(refused.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Shows how fresh the view of the chain is.
#[derive(Debug)]
struct Chain(watch::Receiver<ChainSeen>);

impl Collector for Chain {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (seen, now) = (*self.0.borrow(), Instant::now());
        let gauges = [
            ("head_number", "number of the block that streams and rights are shown as of", seen.head),
            ("head_age_seconds", "since a new block was last seen", seen.head_age(now).as_secs()),
            ("answer_age_seconds", "since the chain last answered", seen.answer_age(now).as_secs()),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

/// The node's metrics.
#[derive(Debug)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    pub(crate) fn new(counters: watch::Receiver<Counters>, chain: watch::Receiver<ChainSeen>) -> Self {
        let mut registry = Registry::with_prefix("mainstem");
        registry.sub_registry_with_prefix("broker").register_collector(Box::new(Broker(counters)));
        registry.sub_registry_with_prefix("chain").register_collector(Box::new(Chain(chain)));
        Self(registry)
    }

    /// The text that Prometheus reads (OpenMetrics).
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.0) {
            tracing::error!(%error, "the metrics cannot be shown");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::Code;

    #[test]
    fn every_counter_and_every_code_of_refusal_is_shown() {
        let mut counters = Counters { events_accepted: 7, sessions: 3, ..Counters::default() };
        counters.refused.insert(Code::MissingPermission, 2);
        let (_send, receive) = watch::channel(counters);
        let (_chain, seen) = watch::channel(ChainSeen::new(9, Instant::now()));
        let text = Metrics::new(receive, seen).text();
        for line in [
            "mainstem_broker_events_accepted_total 7",
            "mainstem_broker_sessions 3",
            "mainstem_chain_head_number 9",
            "mainstem_chain_answer_age_seconds 0",
            "mainstem_broker_refused_total{code=\"MISSING_PERMISSION\"} 2",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}

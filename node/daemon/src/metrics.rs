//! What the node has done, as Prometheus reads it.

use crate::{
    chain_seen::ChainSeen,
    peer::{Counted, Lost},
    plugins::Plugins,
};
use mainstem_overlay::{LaneMetrics, PeerMetrics};
use mainstem_plugin_host::{Counters as PluginCounters, Status};
use mainstem_protocol::{Counters, Lane, Misdeed};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
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
            ("copies_sent", "batches sent to other brokers to keep", now.copies_sent),
            ("batches_fed", "batches sent over links", now.batches_fed),
            (
                "links_behind",
                "times that a link had no room and was told from the log what it missed",
                now.links_behind,
            ),
            ("batches_repaired", "batches that came by repair", now.batches_repaired),
            ("batches_backfilled", "batches that came by repair and fill up history", now.batches_backfilled),
            ("peers_dropped", "times that another broker was dropped for what it did", now.peers_dropped),
            ("links_moved", "times that a link was moved to another broker", now.links_moved),
            (
                "followers_redirected",
                "times that another broker found no room for a link here and was told of others",
                now.followers_redirected,
            ),
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
            ("peers_up", "other brokers there is a session with", now.peers_up),
            ("links_out", "partitions followed at other brokers", now.links_out),
            ("links_in", "links that other brokers have here", now.links_in),
            ("series_behind", "series of which other brokers have more", now.series_behind),
            ("parked_bytes", "bytes of batches that wait for those before them", now.parked_bytes),
            ("copies_waiting", "batches that wait for copies at other brokers", now.copies_waiting),
            ("ready", "whether this broker has all that it is to keep", now.ready),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let by_code = [
            ("refused", "requests refused, by code", &now.refused),
            ("offers_refused", "batches of other brokers that were not kept, by code", &now.offers_refused),
        ];
        for (name, help, counts) in by_code {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (code, count) in counts {
                let labels = [("code", code.as_str())];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "what other brokers did wrong, by kind";
        let mut misdeeds = encoder.encode_descriptor("misdeeds", help, None, MetricType::Counter)?;
        for kind in Misdeed::ALL {
            let count = now.misdeeds.get(&kind).copied().unwrap_or(0);
            let labels = [("kind", kind.as_str())];
            ConstCounter::new(count).encode(misdeeds.encode_family(&labels)?)?;
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

/// Shows the connections with other brokers, and what became of messages.
#[derive(Debug)]
struct Peers(Counted);

impl Collector for Peers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.0.counters.received() {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let help = "messages to brokers that were not sent";
        let mut lost = encoder.encode_descriptor("messages_lost", help, None, MetricType::Counter)?;
        for (lane, name) in [(Lane::Live, "live"), (Lane::Bulk, "bulk")] {
            for why in Lost::ALL {
                let labels = [("lane", name), ("reason", why.as_str())];
                ConstCounter::new(self.0.counters.lost(lane, why)).encode(lost.encode_family(&labels)?)?;
            }
        }
        // The node ends when the overlay has.
        let Some(overlay) = self.0.overlay.upgrade() else { return Ok(()) };
        let now = overlay.metrics();
        drop(overlay);
        let connections = ConstGauge::new(i64::try_from(now.connections).unwrap_or(i64::MAX));
        let help = "open connections, with strangers too";
        connections.encode(encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?)?;
        let counters = [
            ("connections_refused", "connections refused by a bound", now.connections_refused),
            ("substreams_delayed", "times a connection waited to open a substream", now.substreams_delayed),
            ("strangers_refused", "lanes refused to peers that are no brokers", now.strangers_refused),
            ("strangers_dropped", "lanes closed to such peers without a word", now.strangers_dropped),
            ("misbehaved", "sessions ended for what the broker sent", now.peers_misbehaved),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let brokers: Vec<_> = now.peers.iter().map(|(broker, its)| (broker.to_string(), its)).collect();
        show_brokers(&mut encoder, &brokers)
    }
}

/// Plugins that are on, each by its name.
#[derive(Debug)]
struct Called(Plugins);

/// A number of a plugin: its name, what it says, and where it is.
type Number = (&'static str, &'static str, fn(&PluginCounters) -> u64);

impl Collector for Called {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all: Vec<_> = self.0.iter().map(|it| (it.manifest().name.as_str(), it.counters())).collect();
        let counters: [Number; 8] = [
            ("calls", "calls of the plugin", |of| of.calls),
            ("items", "signatures and rows that were sent in calls", |of| of.items),
            ("failed", "calls that it answered with an error", |of| of.failed),
            ("host_calls", "times that it asked the node for something", |of| of.host_calls),
            ("fuel", "fuel that calls used, about one for each instruction", |of| of.fuel),
            ("time_us", "microseconds that calls took", |of| of.time_us),
            ("instances_made", "instances that were made", |of| of.instances_made),
            ("log_lines_dropped", "lines that were not written to the log, over the rate", |of| {
                of.log_lines_dropped
            }),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (plugin, its) in &all {
                ConstCounter::new(value(its)).encode(family.encode_family(&[("plugin", *plugin)])?)?;
            }
        }
        let help = "calls that ended in a trap, over a bound or with a reply that breaks the rules";
        let mut family = encoder.encode_descriptor("faults", help, None, MetricType::Counter)?;
        for (plugin, its) in &all {
            let faults = its.faults;
            for (reason, count) in [
                ("trap", faults.trap),
                ("out_of_fuel", faults.out_of_fuel),
                ("deadline", faults.deadline),
                ("memory", faults.memory),
                ("reply", faults.reply),
            ] {
                let labels = [("plugin", *plugin), ("reason", reason)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let gauges: [Number; 2] = [
            ("instances", "instances that there are now", |of| of.instances),
            ("memory_bytes_high", "the most memory that an instance had after a call", |of| {
                of.memory_bytes_high
            }),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (plugin, its) in &all {
                let value = i64::try_from(value(its)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&[("plugin", *plugin)])?)?;
            }
        }
        let mut family =
            encoder.encode_descriptor("on", "whether the node calls the plugin", None, MetricType::Gauge)?;
        for plugin in self.0.iter() {
            let on = i64::from(plugin.status() == Status::On);
            let labels = [("plugin", plugin.manifest().name.as_str())];
            ConstGauge::new(on).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn show_brokers(
    encoder: &mut DescriptorEncoder<'_>,
    brokers: &[(String, &PeerMetrics)],
) -> Result<(), fmt::Error> {
    let mut connected =
        encoder.encode_descriptor("connected", "whether there is a session", None, MetricType::Gauge)?;
    for (broker, its) in brokers {
        let metric = ConstGauge::new(i64::from(its.connected));
        metric.encode(connected.encode_family(&[("peer", broker.as_str())])?)?;
    }
    let mut rtt = encoder.encode_descriptor("rtt_seconds", "the last round trip", None, MetricType::Gauge)?;
    for (broker, its) in brokers {
        if let Some(time) = its.rtt {
            ConstGauge::new(time.as_secs_f64()).encode(rtt.encode_family(&[("peer", broker.as_str())])?)?;
        }
    }
    let mut sessions = encoder.encode_descriptor("sessions", "sessions so far", None, MetricType::Counter)?;
    for (broker, its) in brokers {
        ConstCounter::new(its.sessions).encode(sessions.encode_family(&[("peer", broker.as_str())])?)?;
    }
    type Number = fn(&LaneMetrics) -> u64;
    let lanes: [(&str, &str, MetricType, Number); 6] = [
        ("queued_bytes", "bytes that wait to be written", MetricType::Gauge, |lane| lane.queued_bytes),
        ("sent_frames", "frames written", MetricType::Counter, |lane| lane.sent_frames),
        ("sent_bytes", "bytes of frames written", MetricType::Counter, |lane| lane.sent_bytes),
        ("received_frames", "frames received", MetricType::Counter, |lane| lane.received_frames),
        ("received_bytes", "bytes of frames received", MetricType::Counter, |lane| lane.received_bytes),
        ("refused_frames", "frames that the queue had no room for", MetricType::Counter, |lane| {
            lane.refused_frames
        }),
    ];
    for (name, help, kind, number) in lanes {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (broker, its) in brokers {
            for (lane, its) in [("live", &its.live), ("bulk", &its.bulk)] {
                let slot = [("peer", broker.as_str()), ("lane", lane)];
                if matches!(kind, MetricType::Gauge) {
                    let value = i64::try_from(number(its)).unwrap_or(i64::MAX);
                    ConstGauge::new(value).encode(family.encode_family(&slot)?)?;
                } else {
                    ConstCounter::new(number(its)).encode(family.encode_family(&slot)?)?;
                }
            }
        }
    }
    Ok(())
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

    /// Shows other brokers too.
    pub(crate) fn add_peers(&mut self, counted: Counted) {
        self.0.sub_registry_with_prefix("peer").register_collector(Box::new(Peers(counted)));
    }

    /// Shows plugins too.
    pub(crate) fn add_plugins(&mut self, plugins: Plugins) {
        self.0.sub_registry_with_prefix("plugin").register_collector(Box::new(Called(plugins)));
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
        // All of them, each with a number of its own: a field that is new does not compile until it is here.
        let counters = Counters {
            batches_accepted: 101,
            events_accepted: 102,
            bytes_accepted: 103,
            batches_duplicate: 104,
            batches_stored: 105,
            batches_delivered: 106,
            events_delivered: 107,
            bytes_delivered: 108,
            subscriptions_lagged: 109,
            batches_damaged: 110,
            equivocations: 111,
            refused: [(Code::MissingPermission, 112)].into(),
            copies_sent: 113,
            batches_fed: 114,
            links_behind: 115,
            batches_repaired: 116,
            batches_backfilled: 117,
            offers_refused: [(Code::SeriesGap, 118)].into(),
            misdeeds: [(Misdeed::Late, 119)].into(),
            peers_dropped: 120,
            links_moved: 121,
            followers_redirected: 122,
            peers_up: 123,
            links_out: 124,
            links_in: 125,
            series_behind: 126,
            parked_bytes: 127,
            copies_waiting: 128,
            ready: 1,
            sessions: 129,
            subscriptions: 130,
            write_queue_bytes: 131,
            delivery_queue_bytes: 132,
        };
        let (_send, receive) = watch::channel(counters);
        let (_chain, seen) = watch::channel(ChainSeen::new(9, Instant::now()));
        let text = Metrics::new(receive, seen).text();
        let counters = [
            "batches_accepted",
            "events_accepted",
            "bytes_accepted",
            "batches_duplicate",
            "batches_stored",
            "batches_delivered",
            "events_delivered",
            "bytes_delivered",
            "subscriptions_lagged",
            "batches_damaged",
            "equivocations",
            "refused{code=\"MISSING_PERMISSION\"}",
            "copies_sent",
            "batches_fed",
            "links_behind",
            "batches_repaired",
            "batches_backfilled",
            "offers_refused{code=\"SERIES_GAP\"}",
            "misdeeds{kind=\"late\"}",
            "peers_dropped",
            "links_moved",
            "followers_redirected",
        ];
        let gauges = [
            "peers_up",
            "links_out",
            "links_in",
            "series_behind",
            "parked_bytes",
            "copies_waiting",
            "sessions",
            "subscriptions",
            "write_queue_bytes",
            "delivery_queue_bytes",
        ];
        let mut expected = vec![
            "mainstem_broker_ready 1".to_owned(),
            "mainstem_broker_misdeeds_total{kind=\"unasked\"} 0".into(),
            "mainstem_chain_head_number 9".into(),
            "mainstem_chain_answer_age_seconds 0".into(),
        ];
        for (name, number) in counters.into_iter().zip(101..) {
            let (name, labels) = name.split_at(name.find('{').unwrap_or(name.len()));
            expected.push(format!("mainstem_broker_{name}_total{labels} {number}"));
            assert!(text.contains(&format!("# HELP mainstem_broker_{name} ")), "{name} has no help");
        }
        for (name, number) in gauges.into_iter().zip(123..) {
            expected.push(format!("mainstem_broker_{name} {number}"));
            assert!(text.contains(&format!("# HELP mainstem_broker_{name} ")), "{name} has no help");
        }
        for line in expected {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn every_number_of_every_broker_and_lane_is_shown() {
        let lane = |from: u64| LaneMetrics {
            queued_bytes: from,
            sent_frames: from + 1,
            sent_bytes: from + 2,
            received_frames: from + 3,
            received_bytes: from + 4,
            refused_frames: from + 5,
        };
        let its = PeerMetrics {
            connected: true,
            rtt: Some(std::time::Duration::from_millis(1500)),
            sessions: 9,
            live: lane(10),
            bulk: lane(20),
            ..PeerMetrics::default()
        };
        #[derive(Debug)]
        struct One(PeerMetrics);
        impl Collector for One {
            fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
                show_brokers(&mut encoder, &[("0xab".into(), &self.0)])
            }
        }
        let mut registry = Registry::with_prefix("mainstem_peer");
        registry.register_collector(Box::new(One(its)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let mut expected = vec![
            "connected{peer=\"0xab\"} 1".to_owned(),
            "rtt_seconds{peer=\"0xab\"} 1.5".into(),
            "sessions_total{peer=\"0xab\"} 9".into(),
        ];
        for (lane, from) in [("live", 10), ("bulk", 20)] {
            let names = [
                "queued_bytes",
                "sent_frames_total",
                "sent_bytes_total",
                "received_frames_total",
                "received_bytes_total",
                "refused_frames_total",
            ];
            for (number, name) in (from..).zip(names) {
                expected.push(format!("{name}{{peer=\"0xab\",lane=\"{lane}\"}} {number}"));
            }
        }
        for line in expected {
            assert!(text.contains(&format!("mainstem_peer_{line}\n")), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn what_was_lost_is_shown_by_lane_and_reason_also_when_the_overlay_has_ended() {
        let (_send, receive) = watch::channel(Counters::default());
        let (_chain, seen) = watch::channel(ChainSeen::new(9, Instant::now()));
        let mut metrics = Metrics::new(receive, seen);
        assert!(!metrics.text().contains("mainstem_peer_"), "a node that is alone has none");
        metrics.add_peers(Counted { overlay: std::sync::Weak::new(), counters: std::sync::Arc::default() });
        let text = metrics.text();
        for line in [
            "mainstem_peer_messages_lost_total{lane=\"live\",reason=\"queue_full\"} 0",
            "mainstem_peer_messages_lost_total{lane=\"bulk\",reason=\"not_connected\"} 0",
            "mainstem_peer_frames_malformed_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}

use super::{
    Api,
    error::Problem,
    input::{NoParams, Params},
    openapi::Read,
};
use crate::{NetworkSeen, PeerConnection};
use axum::{Json, extract::State};
use mainstem_model::Address;
use mainstem_protocol::{LinkStatus, NetworkStatus, PeerStatus, ShardStatus};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The network of brokers as this one sees it, at most a moment ago.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetworkBody {
    broker: BrokerBody,
    counts: CountsBody,
    repair: RepairBody,
    /// The other brokers, by address; none for a broker that is alone.
    peers: Vec<PeerBody>,
    /// The shards that this broker keeps, by number; those that move first. A broker that is alone keeps everything and
    /// lists none.
    kept: Vec<ShardBody>,
    /// Partitions that are followed at other brokers because somebody reads them here; those that do not stand first.
    links: Vec<LinkBody>,
    /// One of the lists was longer than `network_items_max`: `counts` has all of it, the list has not.
    truncated: bool,
}

/// This broker.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BrokerBody {
    /// Its address.
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    address: String,
    /// Number of the epoch in force; 0 without other brokers, or where they are listed in the configuration.
    epoch: u32,
    /// How many shards there are in all.
    shards: u32,
    /// How many brokers are to keep each shard.
    replicas: u8,
    /// Whether it has all that it is to keep, as far as it knows.
    ready: bool,
}

/// How many there are, listed or not.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CountsBody {
    /// Other brokers of the network.
    peers: usize,
    /// Those there is a session with.
    peers_up: usize,
    /// Shards that this broker keeps.
    kept: usize,
    /// Those of them that move from the brokers before to others.
    handoffs: usize,
    /// Partitions followed at others.
    links: usize,
    /// Those of them of which batches come.
    links_standing: usize,
    /// Links that others have here.
    followers: usize,
}

/// What this broker is yet to get from others, or others from it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RepairBody {
    /// Series of which others have more.
    series_behind: usize,
    /// Bytes of batches that wait for those before them.
    parked_bytes: usize,
    /// Batches that wait for copies at other brokers.
    copies_waiting: usize,
}

/// Another broker.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PeerBody {
    /// Its address.
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    address: String,
    /// Whether there is a session with it.
    up: bool,
    /// Whether it says to have all that it is to keep.
    ready: bool,
    /// Milliseconds since it was last heard; absent without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_ms: Option<i64>,
    /// Points for misbehaviour: 0 is good, at 100 it is dropped for a while.
    score: u32,
    /// Bytes of batches sent to it for keeping and not answered.
    outstanding_bytes: usize,
    /// Pulls of missing batches from it that are under way.
    pulls: usize,
    /// What the session runs over: `quic`, `tcp` or `relay`; absent without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    /// The last round trip that was measured, milliseconds; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<f64>,
    queued_bytes: LanesBody,
    /// How many milliseconds longer no session with it is wanted, for what it did; absent when one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_ms: Option<u64>,
    /// Where it says it is reached, as multiaddresses; as it wrote them, which may be anything.
    endpoints: Vec<String>,
}

/// Bytes that wait to be written to a broker, by lane.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LanesBody {
    /// New batches, and what goes with them.
    live: u64,
    /// Repair and history.
    bulk: u64,
}

/// A shard that this broker keeps.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ShardBody {
    /// Its number.
    shard: u32,
    /// Addresses of those who keep it, best first.
    owners: Vec<String>,
    /// Addresses of those who kept it before and go on until the owners have all of it; empty when nothing moves.
    before: Vec<String>,
}

/// A partition that is followed at others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LinkBody {
    /// Its stream.
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    stream: String,
    /// Its number within the stream.
    partition: u16,
    /// Address of the broker that tells its batches; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<String>,
    /// Addresses of the brokers that tell only how far its series are, so that what is missing is noticed.
    heads: Vec<String>,
    /// Whether batches come.
    stands: bool,
}

/// The network as this broker sees it: the other brokers, the shards it keeps, what it follows and what it lacks.
#[utoipa::path(get, path = "/network", tag = "node", responses((status = 200, body = NetworkBody), Read))]
pub(super) async fn network(
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<NetworkBody>, Problem> {
    let seen = api.handle.network_seen().await?;
    Ok(Json(body(&seen, api.handle.node(), api.config.network_items_max)))
}

fn body(seen: &NetworkSeen, me: Address, items_max: usize) -> NetworkBody {
    let status = &seen.status;
    let counts = counts(status);
    let mut kept: Vec<_> = status.kept.iter().collect();
    kept.sort_by_key(|shard| shard.before.is_empty());
    let mut links: Vec<_> = status.links.iter().collect();
    links.sort_by_key(|link| link.stands);
    let nothing = PeerConnection::default();
    let peer = |peer: &PeerStatus| {
        let connection = seen.connections.get(&peer.address).unwrap_or(&nothing);
        PeerBody::of(peer, connection)
    };
    NetworkBody {
        broker: BrokerBody {
            address: me.to_string(),
            epoch: status.epoch,
            shards: status.shards,
            replicas: status.replicas,
            ready: status.ready,
        },
        repair: RepairBody {
            series_behind: status.series_behind,
            parked_bytes: status.parked_bytes,
            copies_waiting: status.copies_waiting,
        },
        peers: status.peers.iter().take(items_max).map(peer).collect(),
        kept: kept.into_iter().take(items_max).map(ShardBody::of).collect(),
        links: links.into_iter().take(items_max).map(LinkBody::of).collect(),
        truncated: counts.peers.max(counts.kept).max(counts.links) > items_max,
        counts,
    }
}

fn counts(status: &NetworkStatus) -> CountsBody {
    CountsBody {
        peers: status.peers.len(),
        peers_up: status.peers.iter().filter(|peer| peer.up).count(),
        kept: status.kept.len(),
        handoffs: status.kept.iter().filter(|shard| !shard.before.is_empty()).count(),
        links: status.links.len(),
        links_standing: status.links.iter().filter(|link| link.stands).count(),
        followers: status.followers,
    }
}

impl PeerBody {
    fn of(peer: &PeerStatus, connection: &PeerConnection) -> Self {
        Self {
            address: peer.address.to_string(),
            up: peer.up,
            ready: peer.ready,
            silent_ms: peer.silent_ms,
            score: peer.score,
            outstanding_bytes: peer.outstanding_bytes,
            pulls: peer.pulls,
            transport: connection.transport,
            // To the microsecond: less is noise, and brokers in one rack differ by it.
            rtt_ms: connection.rtt.map(|rtt| rtt.as_micros() as f64 / 1000.0),
            queued_bytes: LanesBody {
                live: connection.queued_live_bytes,
                bulk: connection.queued_bulk_bytes,
            },
            dropped_ms: connection.dropped.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            endpoints: connection.endpoints.clone(),
        }
    }
}

impl ShardBody {
    fn of(shard: &ShardStatus) -> Self {
        let texts = |brokers: &[Address]| brokers.iter().map(ToString::to_string).collect();
        Self { shard: shard.shard, owners: texts(&shard.owners), before: texts(&shard.before) }
    }
}

impl LinkBody {
    fn of(link: &LinkStatus) -> Self {
        Self {
            stream: link.at.stream.to_string(),
            partition: link.at.partition.number(),
            full: link.full.map(|broker| broker.to_string()),
            heads: link.heads.iter().map(ToString::to_string).collect(),
            stands: link.stands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Partition, StreamId};
    use serde_json::{Value, json};
    use std::{collections::BTreeMap, time::Duration};

    const ME: Address = Address([9; 20]);

    fn address(number: u8) -> Address {
        Address([number; 20])
    }

    fn seen() -> NetworkSeen {
        let peer = |number: u8, up: bool| PeerStatus {
            address: address(number),
            up,
            ready: up,
            silent_ms: up.then_some(40),
            score: 7,
            outstanding_bytes: 1_000,
            pulls: 2,
        };
        let link = |number: u8, stands: bool| LinkStatus {
            at: StreamId(address(number)).partition(Partition::ZERO),
            full: stands.then_some(address(1)),
            heads: vec![address(3), address(4)],
            stands,
        };
        let shard =
            |shard: u32, before: &[Address]| ShardStatus { shard, owners: vec![ME], before: before.to_vec() };
        NetworkSeen {
            status: NetworkStatus {
                me: ME,
                epoch: 4,
                shards: 64,
                replicas: 3,
                ready: true,
                peers: vec![peer(1, true), peer(2, false)],
                kept: vec![shard(0, &[]), shard(5, &[address(2)]), shard(6, &[])],
                links: vec![link(0xa, true), link(0xb, false)],
                followers: 11,
                series_behind: 12,
                parked_bytes: 13,
                copies_waiting: 14,
            },
            connections: BTreeMap::from([
                (
                    address(1),
                    PeerConnection {
                        transport: Some("quic"),
                        rtt: Some(Duration::from_micros(1_250)),
                        queued_live_bytes: 3,
                        queued_bulk_bytes: 4,
                        dropped: None,
                        endpoints: vec!["/ip4/192.0.2.1/udp/7173/quic-v1".into()],
                    },
                ),
                (
                    address(2),
                    PeerConnection { dropped: Some(Duration::from_secs(3)), ..PeerConnection::default() },
                ),
            ]),
        }
    }

    fn told(items_max: usize) -> Value {
        serde_json::to_value(body(&seen(), ME, items_max)).unwrap()
    }

    #[test]
    fn what_is_known_of_a_broker_and_of_the_way_to_it_stands_together() {
        let told = told(100);
        assert_eq!(
            told["peers"],
            json!([
                {
                    "address": address(1).to_string(), "up": true, "ready": true, "silentMs": 40, "score": 7,
                    "outstandingBytes": 1000, "pulls": 2, "transport": "quic", "rttMs": 1.25,
                    "queuedBytes": {"live": 3, "bulk": 4}, "endpoints": ["/ip4/192.0.2.1/udp/7173/quic-v1"],
                },
                {
                    "address": address(2).to_string(), "up": false, "ready": false, "score": 7,
                    "outstandingBytes": 1000, "pulls": 2, "queuedBytes": {"live": 0, "bulk": 0},
                    "droppedMs": 3000, "endpoints": [],
                },
            ])
        );
        assert_eq!(
            told["broker"],
            json!({"address": ME.to_string(), "epoch": 4, "shards": 64, "replicas": 3, "ready": true})
        );
        assert_eq!(told["repair"], json!({"seriesBehind": 12, "parkedBytes": 13, "copiesWaiting": 14}));
    }

    #[test]
    fn a_list_ends_at_the_bound_with_what_an_operator_looks_for_first_and_is_counted_whole() {
        let whole = told(3);
        assert_eq!(whole["truncated"], false);
        let short = told(1);
        assert_eq!(short["truncated"], true);
        assert_eq!(short["counts"], whole["counts"]);
        assert_eq!(
            whole["counts"],
            json!({
                "peers": 2, "peersUp": 1, "kept": 3, "handoffs": 1, "links": 2, "linksStanding": 1,
                "followers": 11,
            })
        );
        for (list, length) in [("peers", 2), ("kept", 3), ("links", 2)] {
            assert_eq!(whole[list].as_array().unwrap().len(), length, "{list}");
            assert_eq!(short[list].as_array().unwrap().len(), 1, "{list}");
        }
        assert_eq!(short["kept"][0]["shard"], 5, "the one that moves");
        assert_eq!(short["links"][0]["stands"], false, "the one that does not stand");
        assert_eq!(told(2)["truncated"], true, "three shards are more than two");
    }
}

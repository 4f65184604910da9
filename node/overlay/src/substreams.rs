use crate::frame::Lane;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, InboundUpgrade, OutboundUpgrade, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, Stream, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Opens and takes the substreams of our data protocols, and hands them out. Bytes are not its business.
pub(crate) struct Substreams {
    negotiation: Duration,
    actions: VecDeque<ToSwarm<Event, Lane>>,
    waker: Option<Waker>,
}

/// Something about a data substream of a connection.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) lane: Lane,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The peer opened it.
    Inbound(Stream),
    /// We asked for it.
    Outbound(Stream),
    /// We asked for it, and it could not be had.
    Failed,
}

impl Substreams {
    pub(crate) fn new(negotiation: Duration) -> Self {
        Self { negotiation, actions: VecDeque::new(), waker: None }
    }

    /// Asks for a substream. `Outbound` or `Failed` answers, unless the connection ends before.
    pub(crate) fn open(&mut self, peer: PeerId, connection: ConnectionId, lane: Lane) {
        self.push(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: lane,
        });
    }

    fn push(&mut self, action: ToSwarm<Event, Lane>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self) -> Handler {
        Handler { negotiation: self.negotiation, wanted: VecDeque::new(), done: VecDeque::new() }
    }
}

impl NetworkBehaviour for Substreams {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        (lane, what): THandlerOutEvent<Self>,
    ) {
        self.push(ToSwarm::GenerateEvent(Event { peer, connection, lane, what }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// One connection's. What waits here is bounded by the muxer's bounds on substreams, and by two for ours.
pub(crate) struct Handler {
    negotiation: Duration,
    wanted: VecDeque<Lane>,
    done: VecDeque<(Lane, What)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Lane;
    type ToBehaviour = (Lane, What);
    type InboundProtocol = Lanes;
    type OutboundProtocol = Lanes;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Lane;

    fn listen_protocol(&self) -> SubstreamProtocol<Lanes> {
        SubstreamProtocol::new(Lanes(Lane::ALL.to_vec()), ()).with_timeout(self.negotiation)
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Lane, Self::ToBehaviour>> {
        if let Some(done) = self.done.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(done));
        }
        if let Some(lane) = self.wanted.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Lanes(vec![lane]), lane).with_timeout(self.negotiation),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, lane: Lane) {
        self.wanted.push_back(lane);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Lanes, Lanes, (), Lane>) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event {
            let (lane, stream) = protocol;
            self.done.push_back((lane, What::Inbound(stream)));
        } else if let ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) =
            event
        {
            let (lane, stream) = protocol;
            self.done.push_back((lane, What::Outbound(stream)));
        } else if let ConnectionEvent::DialUpgradeError(DialUpgradeError { info, .. }) = event {
            self.done.push_back((info, What::Failed));
        }
    }
}

/// The names of our data protocols; the agreed one tells the lane.
#[derive(Clone, Debug)]
pub(crate) struct Lanes(Vec<Lane>);

#[derive(Clone)]
pub(crate) struct Named(Lane, StreamProtocol);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for Lanes {
    type Info = Named;
    type InfoIter = std::vec::IntoIter<Named>;

    fn protocol_info(&self) -> Self::InfoIter {
        let names: Vec<_> = self.0.iter().map(|lane| Named(*lane, lane.protocol())).collect();
        names.into_iter()
    }
}

impl InboundUpgrade<Stream> for Lanes {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, Named(lane, _): Named) -> Self::Future {
        ready(Ok((lane, stream)))
    }
}

impl OutboundUpgrade<Stream> for Lanes {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, stream: Stream, Named(lane, _): Named) -> Self::Future {
        ready(Ok((lane, stream)))
    }
}

use super::unproven::{Unproven, plugin_type};
use crate::{Answer, Workers, workers::prove};
use bytes::Bytes;
use futures_util::future::join_all;
use mainstem_model::{BatchError, SignatureType, VerifiedBatch, Verifier};
use mainstem_protocol::{PeerFault, PeerMessage};
use std::{collections::BTreeMap, sync::Arc};

/// Batches of a page that a worker proves before others have their turn: two milliseconds for those that are built in, and for
/// a plugin's what it may take for so many.
const PIECE_BATCHES: usize = 8;

type Proof = Result<Arc<VerifiedBatch>, BatchError>;

/// Batches of one signature type, each with its place in the message.
type Part = Vec<(usize, Bytes)>;

impl Unproven {
    /// Has its batches proven as [`Unproven::prove`] does, each by the workers of its signature type. Those of each type are
    /// proven one after the other, in pieces of a few, so that a long page lets others have their turn, and what a plugin is slow at
    /// holds up no thread but its own. Waits while the queue is full.
    ///
    /// To be called on a tokio runtime. What is not begun when the answer is dropped is not done.
    pub async fn prove_by(
        self,
        workers: &Workers,
        verifier: &Arc<Verifier>,
    ) -> Answer<Result<PeerMessage, PeerFault>> {
        let verifier = verifier.clone();
        let mut parts = self.parts(workers);
        if parts.len() > 1 || parts.values().any(|part| part.len() > PIECE_BATCHES) {
            return self.prove_in_pieces(parts, workers.clone(), verifier);
        }
        let workers = workers.of(parts.pop_first().and_then(|(signed, _)| signed));
        workers.submit_of_broker(move || self.prove(&verifier)).await
    }

    /// [`Unproven::prove_by`] where there is room for it in the queue.
    ///
    /// # Errors
    /// There is none: gives the message back.
    #[expect(
        clippy::result_large_err,
        reason = "it is the message itself, given back where there is no room"
    )]
    pub fn try_prove_by(
        self,
        workers: &Workers,
        verifier: &Arc<Verifier>,
    ) -> Result<Answer<Result<PeerMessage, PeerFault>>, Self> {
        let verifier = verifier.clone();
        let mut parts = self.parts(workers);
        if parts.len() > 1 || parts.values().any(|part| part.len() > PIECE_BATCHES) {
            return Ok(self.prove_in_pieces(parts, workers.clone(), verifier));
        }
        let workers = workers.of(parts.pop_first().and_then(|(signed, _)| signed));
        workers.try_submit_of_broker(self, move |unproven| unproven.prove(&verifier))
    }

    /// Its batches by whose workers prove them.
    fn parts(&self, workers: &Workers) -> BTreeMap<Option<SignatureType>, Part> {
        let mut parts = BTreeMap::<_, Part>::new();
        for (place, batch) in self.batches().into_iter().enumerate() {
            let signed = plugin_type(&batch).filter(|signed| workers.of_plugin(Some(*signed)).is_some());
            parts.entry(signed).or_default().push((place, batch));
        }
        parts
    }

    fn prove_in_pieces(
        self,
        parts: BTreeMap<Option<SignatureType>, Part>,
        workers: Workers,
        verifier: Arc<Verifier>,
    ) -> Answer<Result<PeerMessage, PeerFault>> {
        let (mut reply, answer) = Answer::channel();
        tokio::spawn(async move {
            let parts =
                parts.into_iter().map(|(signed, part)| prove_part(part, workers.of(signed), &verifier));
            let proofs = tokio::select! {
                biased;
                // The session went.
                () = reply.closed() => return,
                proofs = join_all(parts) => proofs,
            };
            // Without all of them there is no answer: a worker panicked.
            let Some(proofs) = proofs.into_iter().collect::<Option<Vec<_>>>() else { return };
            let mut proofs = proofs.into_iter().flatten().collect::<BTreeMap<_, _>>().into_values();
            let proven = self.proven(|_| {
                proofs.next().expect("a part has no gap before the first of its batches that does not hold")
            });
            let _ = reply.send(proven);
        });
        answer
    }
}

/// Proves batches up to the first that does not hold. `None`: a worker panicked.
async fn prove_part(part: Part, workers: &Workers, verifier: &Arc<Verifier>) -> Option<Vec<(usize, Proof)>> {
    let mut proofs = Vec::with_capacity(part.len());
    for piece in part.chunks(PIECE_BATCHES) {
        let (piece, verifier) = (piece.to_vec(), verifier.clone());
        let mut answer = workers.submit_of_broker(move || prove_piece(piece, &verifier)).await;
        proofs.extend(answer.wait().await?);
        if proofs.last().is_some_and(|(_, proof)| proof.is_err()) {
            break;
        }
    }
    Some(proofs)
}

fn prove_piece(piece: Part, verifier: &Verifier) -> Vec<(usize, Proof)> {
    let mut proofs = Vec::with_capacity(piece.len());
    for (place, batch) in piece {
        let proof = prove(verifier, batch);
        let fails = proof.is_err();
        proofs.push((place, proof));
        if fails {
            break;
        }
    }
    proofs
}
